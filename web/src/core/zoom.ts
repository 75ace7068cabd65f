/** Where a picture lies on a stage: zooming at a point, panning, and what of it is in the middle. */

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** From the middle of the stage, in CSS px. */
export interface Offset {
  readonly x: number;
  readonly y: number;
}

/**
 * How a picture is looked at, apart from its size: so that views of two versions of a picture can be linked.
 * `zoom` is a multiple of what fits into the stage; `x` and `y` say which point of the picture is in the middle of
 * the stage, from 0 to 1.
 */
export interface View {
  readonly zoom: number;
  readonly x: number;
  readonly y: number;
}

/** A picture on a stage; `ratio` is device px for one CSS px. */
export interface Scene {
  readonly picture: Size;
  readonly stage: Size;
  readonly ratio: number;
}

export interface Placed extends Size {
  readonly left: number;
  readonly top: number;
}

export const FITTED: View = { zoom: 1, x: 0.5, y: 0.5 };

/** From here on the pixels of a picture are shown as squares. */
export const PIXELATED_FROM = 4;
const LARGEST_PERCENT = 3_200;
const LARGEST_ZOOM = 8;
const SMALLEST_PART = 0.25;

/** CSS px for one px of the picture where all of it just fits into the stage. */
export function fitScale({ picture, stage }: Scene): number {
  return Math.min(stage.width / picture.width, stage.height / picture.height);
}

/** The zoom at which a px of the picture is a px of the screen. */
export function actualZoom(scene: Scene): number {
  return 1 / (fitScale(scene) * scene.ratio);
}

/** Device px for one px of the picture; 1 is 1:1. */
export function magnification(view: View, scene: Scene): number {
  return view.zoom / actualZoom(scene);
}

/** All of the picture, but no larger than 1:1. */
export function openingView(scene: Scene): View {
  return { ...FITTED, zoom: Math.min(1, actualZoom(scene)) };
}

function bounded(zoom: number, scene: Scene): number {
  const actual = actualZoom(scene);
  const least = Math.min(1, actual) * SMALLEST_PART;
  const most = Math.max((actual * LARGEST_PERCENT) / 100, LARGEST_ZOOM);
  return Math.min(most, Math.max(least, zoom));
}

/** Zoom so that what is at a point of the stage stays there. */
export function zoomTo(view: View, zoom: number, at: Offset, scene: Scene): View {
  const before = settle(view, scene);
  const after = bounded(zoom, scene);
  const was = scaled(before, scene);
  const now = scaled({ ...before, zoom: after }, scene);
  const x = before.x + at.x / was.width - at.x / now.width;
  const y = before.y + at.y / was.height - at.y / now.height;
  return settle({ zoom: after, x, y }, scene);
}

/** Move the picture by so many CSS px. */
export function pan(view: View, by: Offset, scene: Scene): View {
  const before = settle(view, scene);
  const { width, height } = scaled(before, scene);
  return settle({ ...before, x: before.x - by.x / width, y: before.y - by.y / height }, scene);
}

/** A view within the limits: no empty edge beside a picture that is larger than the stage, a smaller one centred. */
export function settle(view: View, scene: Scene): View {
  const { width, height } = scaled(view, scene);
  return {
    zoom: view.zoom,
    x: held(view.x, scene.stage.width / width / 2),
    y: held(view.y, scene.stage.height / height / 2),
  };
}

/** Where to draw the picture, in CSS px from the stage's corner, on whole px of the screen. */
export function place(view: View, scene: Scene): Placed {
  const { zoom, x, y } = settle(view, scene);
  const { width, height } = scaled({ zoom, x, y }, scene);
  const whole = (px: number): number => Math.round(px * scene.ratio) / scene.ratio;
  return {
    left: whole(scene.stage.width / 2 - x * width),
    top: whole(scene.stage.height / 2 - y * height),
    width,
    height,
  };
}

/** The same view after the stage has changed its size: what was fitted still is, else the scale is kept. */
export function restaged(view: View, before: Scene, after: Scene): View {
  if (view.zoom === 1) return view;
  return { ...view, zoom: bounded((view.zoom * fitScale(before)) / fitScale(after), after) };
}

function scaled(view: View, scene: Scene): Size {
  const scale = fitScale(scene) * view.zoom;
  return { width: scene.picture.width * scale, height: scene.picture.height * scale };
}

function held(at: number, half: number): number {
  return half >= 0.5 ? 0.5 : Math.min(1 - half, Math.max(half, at));
}

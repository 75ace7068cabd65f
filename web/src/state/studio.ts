/** Everything that the Studio's parts share. */

import { inject, onScopeDispose, provide, ref, type InjectionKey, type Ref, type ShallowRef } from "vue";
import type { SessionAnswer } from "../api/client";
import { EventSocket, type Connection } from "../api/events";
import { Clipboard } from "./clipboard";
import { Commands } from "./commands";
import { Edits } from "./edits";
import { Entry } from "./entry";
import { Exchange } from "./exchange";
import { Gallery } from "./gallery";
import { Imports } from "./imports";
import { usePlaces, type Places } from "./place";
import { Player } from "./player";
import { THEME_NAMES, THEMES, useSettings, type Settings } from "./settings";
import { Toasts } from "./toasts";

export interface Studio {
  readonly settings: Settings;
  readonly toasts: Toasts;
  readonly places: Places;
  readonly commands: Commands;
  readonly gallery: Gallery;
  readonly edits: Edits;
  readonly clipboard: Clipboard;
  readonly exchange: Exchange;
  readonly imports: Imports;
  readonly player: Player;
  readonly connection: Ref<Connection>;
  readonly entry: Entry;
  /** Who this browser is to the server; null till it has said so. */
  readonly session: ShallowRef<SessionAnswer | null>;
  /** A change was refused for want of a token, or everything needs one. */
  readonly needsToken: Ref<boolean>;
  /** Ask who we are, then read the library and listen; again after signing in. */
  begin(): Promise<void>;
  /** Try to reach the server now, if that is waited with. */
  reconnect(): void;
  /** Give the server a token, and go on where it was wanted; a refusal is thrown. */
  signIn(token: string): Promise<void>;
}

const KEY: InjectionKey<Studio> = Symbol("studio");

export function provideStudio(): Studio {
  const settings = useSettings();
  const toasts = new Toasts();
  const places = usePlaces();
  const gallery = new Gallery(places, toasts);
  const connection = ref<Connection>("connecting");
  const entry = new Entry();
  const { session, needsToken } = entry;
  let wasOffline = false;
  const socket = new EventSocket({
    onChanges: (changes) => gallery.onChanges(changes),
    onReset: () => gallery.onReset(),
    onConnection: (now) => {
      connection.value = now;
      if (now === "offline" || (now === "live" && wasOffline)) void entry.look();
      if (now !== "connecting") wasOffline = now === "offline";
    },
  });
  const reconnect = (): void => socket.retryNow();
  const onSight = (): void => {
    if (document.visibilityState === "visible") reconnect();
  };
  addEventListener("online", reconnect);
  addEventListener("focus", reconnect);
  document.addEventListener("visibilitychange", onSight);
  onScopeDispose(() => {
    removeEventListener("online", reconnect);
    removeEventListener("focus", reconnect);
    document.removeEventListener("visibilitychange", onSight);
  });
  const begin = async (): Promise<void> => {
    await entry.enter();
    if (needsToken.value) return;
    if (entry.refusedLink.value) toasts.error(entry.refusedLink.value);
    await gallery.askAnew();
    socket.open(gallery.revision);
  };
  const signIn = async (token: string): Promise<void> => {
    await entry.signIn(token);
    if (gallery.status.value !== "ready") await begin();
    else if (connection.value !== "live") socket.open();
  };
  const edits = new Edits(gallery, places, toasts, session, needsToken);
  const clipboard = new Clipboard();
  const commands = new Commands();
  const mayOnlyLook = (): boolean => session.value?.scope === "assets.read" && session.value.name === null;
  commands.handle({
    "session.begin": { run: () => (needsToken.value = true), isPossible: mayOnlyLook },
    "session.end": {
      run: () => void entry.signOut().catch((error: unknown) => toasts.error(error)),
      isPossible: () => session.value !== null && session.value.name !== null,
    },
    theme: () => {
      settings.theme = THEMES[(THEMES.indexOf(settings.theme) + 1) % THEMES.length] ?? "dark";
      toasts.info(`Theme: ${THEME_NAMES[settings.theme].toLowerCase()}`);
    },
    "edit.undo": {
      run: () => edits.undoLast(),
      isPossible: () => edits.canUndo,
      whyNot: () => edits.whyReadOnly.value || "This tab has changed nothing that it could undo. See the history (H).",
    },
    "edit.redo": { run: () => edits.redoLast(), isPossible: () => edits.canRedo },
    history: () => {
      const { panels } = places.now.value;
      const isOpen = panels.includes("history");
      places.go({ panels: isOpen ? panels.filter((id) => id !== "history") : [...panels, "history"] }, "push");
    },
  });
  const studio: Studio = {
    settings,
    toasts,
    places,
    commands,
    gallery,
    edits,
    clipboard,
    exchange: new Exchange({ clipboard, edits, gallery, session, toasts }),
    imports: new Imports({ edits, gallery, toasts, session, needsToken }),
    player: new Player(settings, toasts, gallery.changed),
    connection,
    entry,
    session,
    needsToken,
    begin,
    reconnect,
    signIn,
  };
  provide(KEY, studio);
  return studio;
}

export function useStudio(): Studio {
  const studio = inject(KEY);
  if (!studio) throw new Error("useStudio() outside of the Studio");
  return studio;
}

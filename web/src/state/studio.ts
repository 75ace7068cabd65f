/** Everything that the Studio's parts share. */

import { inject, provide, ref, shallowRef, type InjectionKey, type Ref, type ShallowRef } from "vue";
import { askJson, Problem, type SessionAnswer } from "../api/client";
import { EventSocket, type Connection } from "../api/events";
import { Clipboard } from "./clipboard";
import { Commands } from "./commands";
import { Edits } from "./edits";
import { Exchange } from "./exchange";
import { Gallery } from "./gallery";
import { usePlaces, type Places } from "./place";
import { Player } from "./player";
import { useSettings, type Settings } from "./settings";
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
  readonly player: Player;
  readonly connection: Ref<Connection>;
  /** Who this browser is to the server; null till it has said so. */
  readonly session: ShallowRef<SessionAnswer | null>;
  /** A change was refused for want of a token, or everything needs one. */
  readonly needsToken: Ref<boolean>;
  /** Ask who we are, then read the library and listen; again after signing in. */
  begin(): Promise<void>;
}

const KEY: InjectionKey<Studio> = Symbol("studio");

export function provideStudio(): Studio {
  const settings = useSettings();
  const toasts = new Toasts();
  const places = usePlaces();
  const gallery = new Gallery(places, toasts);
  const connection = ref<Connection>("connecting");
  const session = shallowRef<SessionAnswer | null>(null);
  const needsToken = ref(false);
  const socket = new EventSocket({
    onChanges: (changes) => gallery.onChanges(changes),
    onReset: () => gallery.onReset(),
    onConnection: (now) => (connection.value = now),
  });
  const begin = async (): Promise<void> => {
    try {
      session.value = await askJson<SessionAnswer>("session");
      needsToken.value = false;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      needsToken.value = error.needsToken;
    }
    await gallery.askAnew();
    if (gallery.problem.value?.needsToken) needsToken.value = true;
    else socket.open(gallery.revision);
  };
  const edits = new Edits(gallery, places, toasts, session, needsToken);
  const clipboard = new Clipboard();
  const commands = new Commands();
  commands.handle({
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
    player: new Player(settings, toasts, gallery.changed),
    connection,
    session,
    needsToken,
    begin,
  };
  provide(KEY, studio);
  return studio;
}

export function useStudio(): Studio {
  const studio = inject(KEY);
  if (!studio) throw new Error("useStudio() outside of the Studio");
  return studio;
}

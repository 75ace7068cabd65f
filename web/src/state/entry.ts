/** Who this browser is to the server, and how it signs in and out. */

import { ref, shallowRef } from "vue";
import { ask, askJson, Problem, type SessionAnswer } from "../api/client";

export class Entry {
  /** Null till the server has told, and where it tells nothing without a token. */
  readonly session = shallowRef<SessionAnswer | null>(null);
  /** A change was refused for want of a token, or everything needs one. */
  readonly needsToken = ref(false);
  /** Why the link that opened the page lets nobody in; "" where it did, or was none. */
  readonly refusedLink = ref("");

  private code = takeCode();

  /** Come in by the link that opened the page, by the cookie of a session, or without either. */
  async enter(): Promise<void> {
    const { code } = this;
    this.code = null;
    if (code !== null) {
      try {
        this.session.value = await askJson<SessionAnswer>("session", { method: "POST", body: { code } });
        return;
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        this.refusedLink.value = error.message;
      }
    }
    await this.look();
  }

  /** Ask who we are by now: a session ends with the server, and with its token. */
  async look(): Promise<void> {
    try {
      this.session.value = await this.read();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.needsToken) this.needsToken.value = true;
    }
  }

  /** Show a token; a refusal is thrown. */
  async signIn(token: string): Promise<void> {
    const headers = { authorization: `Bearer ${token}` };
    this.session.value = await askJson<SessionAnswer>("session", { method: "POST", headers });
    this.needsToken.value = false;
    this.refusedLink.value = "";
  }

  /** Leave nothing of what was seen in this tab. */
  async signOut(): Promise<void> {
    await ask("session", { method: "DELETE" });
    location.reload();
  }

  /** The cookie of an ended session is refused even where nobody needs one: then it goes. */
  private async read(): Promise<SessionAnswer> {
    try {
      return await askJson<SessionAnswer>("session");
    } catch (error) {
      if (!(error instanceof Problem && error.code === "token-refused")) throw error;
      await ask("session", { method: "DELETE" });
      return await askJson<SessionAnswer>("session");
    }
  }
}

/** The code of the link by which `comfyvn studio` opens a browser; it is good once, so it leaves the address. */
function takeCode(): string | null {
  const code = new URLSearchParams(location.hash.slice(1)).get("login");
  if (code !== null) history.replaceState(history.state, "", location.pathname + location.search);
  return code;
}

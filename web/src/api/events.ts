/** The library's changes as they happen, over one WebSocket that is opened anew when it breaks. */

import { socketAddress } from "./client";

export interface Change {
  readonly seq: number;
  readonly position: string;
  readonly event: string;
  readonly uid: string;
  readonly type: string | null;
  readonly path: string | null;
  readonly operation: number;
  readonly actor: string | null;
}

export type Connection = "connecting" | "live" | "offline";

export interface Listener {
  onChanges(changes: readonly Change[]): void;
  /** Changes were missed: everything is to be read again. */
  onReset(): void;
  onConnection(connection: Connection): void;
}

const GATHER_MS = 100;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 4_000;

/** Gathers changes for about 100 ms, so that 400 single edits are one refresh. */
export class EventSocket {
  private socket: WebSocket | null = null;
  private position: string | null = null;
  private gathered: Change[] = [];
  private gathering = 0;
  private retrying = 0;
  private retryMs = FIRST_RETRY_MS;
  private isClosed = false;

  constructor(private readonly listener: Listener) {}

  /** Hear what comes from now on, or behind a place in the journal. */
  open(since: number | null = null): void {
    this.isClosed = false;
    if (since !== null) this.position = String(since);
    this.stopRetrying();
    this.socket?.close();
    this.listener.onConnection("connecting");
    const params = new URLSearchParams();
    if (this.position !== null) params.set("since", this.position);
    const socket = new WebSocket(socketAddress(params));
    this.socket = socket;
    socket.onmessage = (message) => this.hear(JSON.parse(String(message.data)) as Change);
    socket.onclose = () => {
      if (this.socket === socket) this.onClose();
    };
  }

  /** Don't wait any longer, where a broken line is to be tried again. */
  retryNow(): void {
    if (this.retrying) this.open();
  }

  close(): void {
    this.isClosed = true;
    this.stopRetrying();
    clearTimeout(this.gathering);
    this.socket?.close();
  }

  private hear(change: Change): void {
    this.position = change.position ?? String(change.seq);
    if (change.event === "hello" || change.event === "reset") {
      this.retryMs = FIRST_RETRY_MS;
      this.listener.onConnection("live");
      if (change.event === "reset") this.listener.onReset();
      return;
    }
    this.gathered.push(change);
    if (!this.gathering) this.gathering = setTimeout(() => this.tell(), GATHER_MS);
  }

  private tell(): void {
    this.gathering = 0;
    const changes = this.gathered;
    this.gathered = [];
    this.listener.onChanges(changes);
  }

  private stopRetrying(): void {
    clearTimeout(this.retrying);
    this.retrying = 0;
  }

  private onClose(): void {
    if (this.isClosed) return;
    this.listener.onConnection("offline");
    this.retrying = setTimeout(() => this.open(), this.retryMs);
    this.retryMs = Math.min(this.retryMs * 2, LAST_RETRY_MS);
  }
}

/** Text for the clipboard; where the browser refuses it, for a dialog, and files that are made here. */

import { shallowRef } from "vue";

/** Text that could not be copied, to be copied by hand. */
export interface Offered {
  readonly title: string;
  readonly text: string;
  readonly fileName: string;
}

export class Clipboard {
  readonly offered = shallowRef<Offered | null>(null);

  /**
   * Copy text; false if the browser refused, and it is offered in a dialog instead. Without https a browser gives
   * no clipboard to pages of other machines. A failure of `text` itself is thrown.
   */
  async copy(text: string | Promise<string>, title: string, fileName: string): Promise<boolean> {
    const coming = Promise.resolve(text);
    try {
      await write(coming);
      return true;
    } catch {
      this.offered.value = { title, text: await coming, fileName };
      return false;
    }
  }
}

/** Asked for at once, so that a browser that wants a person's click still sees it when the text has come. */
async function write(coming: Promise<string>): Promise<void> {
  if (typeof ClipboardItem === "undefined") {
    await navigator.clipboard.writeText(await coming);
    return;
  }
  const blob = coming.then((text) => new Blob([text], { type: "text/plain" }));
  await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
}

const KEPT_MS = 60_000;

/** Have the browser save what is at an address, or a file that was made here. */
export function save(what: string | Blob, name: string): void {
  const link = document.createElement("a");
  link.href = typeof what === "string" ? what : URL.createObjectURL(what);
  link.download = name;
  link.click();
  if (what instanceof Blob) setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}

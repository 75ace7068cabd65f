/** Files and folders that somebody dropped or chose. */

import { isLeaving } from "../../../core/imports";
import { folder } from "../../../core/text";
import type { Picked } from "../../../state/imports";

export interface Found {
  readonly picked: readonly Picked[];
  /** Files of folders that nobody made to keep. */
  readonly leftOut: number;
}

/** What was chosen in the browser's dialog, also of a folder. */
export function fromInput(files: FileList): Found {
  return sorted([...files].map((file) => ({ file, folder: folder(file.webkitRelativePath) })));
}

/** What was dropped. To be called in the event itself: behind it the browser shows nothing any more. */
export function fromDrop(data: DataTransfer): Promise<Found> {
  const files = [...data.items].filter((item) => item.kind === "file");
  const dropped = files.map((item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }));
  const entries = dropped.flatMap(({ entry }) => entry ?? []);
  const alone = dropped.flatMap(({ entry, file }) => (entry || !file ? [] : [{ file, folder: "" }]));
  return readAll(entries, alone);
}

async function readAll(entries: readonly FileSystemEntry[], alone: readonly Picked[]): Promise<Found> {
  const picked = [...alone];
  const waiting = entries.map((entry) => ({ entry, below: "" }));
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const { entry, below } = next;
    if (entry.isFile) {
      picked.push({ file: await fileOf(entry as FileSystemFileEntry), folder: below });
    } else if (below === "" || !entry.name.startsWith(".")) {
      const inside = await entriesOf(entry as FileSystemDirectoryEntry);
      const path = below === "" ? entry.name : `${below}/${entry.name}`;
      waiting.push(...inside.map((each) => ({ entry: each, below: path })));
    }
  }
  return sorted(picked);
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

/** A browser tells of about a hundred at a time. */
async function entriesOf(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}

/** In the order of their paths; what was chosen by itself is always kept. */
function sorted(all: readonly Picked[]): Found {
  const picked = all.filter(({ file, folder: place }) => place === "" || !isLeaving(file.name));
  const path = ({ file, folder: place }: Picked): string => `${place}/${file.name}`;
  const collator = new Intl.Collator("en", { numeric: true });
  return {
    picked: [...picked].sort((a, b) => collator.compare(path(a), path(b))),
    leftOut: all.length - picked.length,
  };
}

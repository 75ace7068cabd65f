/** What can be done about what is wrong with assets; only what really helps. */

import { computed, nextTick, ref, watch, type ComputedRef } from "vue";
import { askJson, Problem as Refusal, type Schemas } from "../../../api/client";
import type { Problem } from "../../../core/query";
import { number } from "../../../core/text";
import type { Studio } from "../../../state/studio";

export interface Fix {
  /** What it does, or why it can't be done now. */
  readonly title: string;
  readonly isPossible: boolean;
  run(): void;
}

type Job = Schemas["Job"];

const LOOK_MS = 400;
/** A rebuild finds moved files and reads sidecars; an enforcement alone would only write those that are gone. */
const JOBS = {
  missing: { title: "look for the files again", body: {}, doing: "Looking for files …" },
  "no-sidecar": {
    title: "read their sidecars, or write them",
    body: { enforce_sidecars: true },
    doing: "Reading sidecars …",
  },
} as const;
const EDITS = {
  "no-license": "select them all and set a licence",
  "no-tags": "select them all and add tags",
} as const;

export function useFixes(studio: Studio): ComputedRef<ReadonlyMap<string, Fix>> {
  const { gallery, commands, edits, places, toasts, needsToken } = studio;
  const isWorking = ref(false);

  async function rebuild(problem: keyof typeof JOBS): Promise<void> {
    isWorking.value = true;
    const before = countOf(problem);
    toasts.info(JOBS[problem].doing);
    try {
      const job = await gallery.act(async () => {
        const asked = { method: "POST", body: JOBS[problem].body };
        return await ended((await askJson<Schemas["JobAnswer"]>("assets/rebuild", asked)).job);
      });
      if (job.error) {
        toasts.error(job.error.detail);
        return;
      }
      await gallery.count();
      const left = countOf(problem);
      toasts.done(left ? `${number(left)} of ${number(before)} are as before.` : "All of them are fixed.");
    } catch (error) {
      if (error instanceof Refusal && error.needsToken) needsToken.value = true;
      toasts.error(error);
    } finally {
      isWorking.value = false;
    }
  }

  function countOf(problem: Problem): number {
    return gallery.facets.value?.problems.find((each) => each.value === problem)?.count ?? 0;
  }

  /** Show those with the problem, select them all, and open what edits them. */
  async function edit(problem: keyof typeof EDITS): Promise<void> {
    const wanted = { ...gallery.query, problems: [problem] };
    gallery.ask(wanted);
    await nextTick();
    await isRead();
    if (gallery.query !== wanted || !gallery.order.value.length) return;
    gallery.select((selection, order) => selection.set(order.ids));
    if (places.now.value.panel !== "edit") commands.run("edit.tags");
  }

  function isRead(): Promise<void> {
    return new Promise((resolve) => {
      const stop = watch(
        gallery.status,
        (status) => {
          if (status === "loading") return;
          resolve();
          void nextTick(() => stop());
        },
        { immediate: true },
      );
    });
  }

  return computed(() => {
    const whyNot = edits.whyReadOnly.value;
    const all = new Map<string, Fix>();
    for (const problem of ["missing", "no-sidecar"] as const) {
      const isPossible = whyNot === "" && !isWorking.value;
      const { title } = JOBS[problem];
      all.set(problem, { title: whyNot || title, isPossible, run: () => void rebuild(problem) });
    }
    for (const problem of ["no-license", "no-tags"] as const) {
      const title = whyNot || EDITS[problem];
      all.set(problem, { title, isPossible: whyNot === "", run: () => void edit(problem) });
    }
    return all;
  });
}

/** Wait for the end of a job. */
async function ended(job: Job): Promise<Job> {
  let now = job;
  while (now.state === "running" || now.state === "cancelling") {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    now = (await askJson<Schemas["JobAnswer"]>(`assets/jobs/${encodeURIComponent(job.id)}`)).job;
  }
  return now;
}

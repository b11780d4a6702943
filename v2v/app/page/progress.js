// How far a job is, in words, and how long it will take yet.

/** Say what a job does: its stage is what the worker reports, such as "windows 0.35 of 1". */
export function describeStage(job, steps) {
  if (job.status === "queued") return "Waiting for its turn";
  const match = /^(\w+) ([\d.]+) of (\d+)$/.exec(job.stage);
  if (!match) return "Loading and compiling the model";
  const [, stage, doneText, totalText] = match, done = Number(doneText), total = Number(totalText);
  if (stage === "masks") return `Searching the mask, frame ${Math.min(total, Math.floor(done) + 1)} of ${total}`;
  if (stage === "frames") return `Writing frame ${Math.min(total, Math.floor(done) + 1)} of ${total}`;
  const part = total > 1 ? `, part ${Math.min(total, Math.floor(done) + 1)} of ${total}` : "";
  if (done >= total) return "Decoding";
  return steps ? `Step ${Math.min(steps, Math.floor((done % 1) * steps) + 1)} of ${steps}${part}` : `Sampling, ${Math.round(100 * (done % 1))} %${part}`;
}

/** The time that is left, from the pace so far. */
export class TimeLeft {
  constructor() { this.samples = []; }

  estimate(job, now = performance.now() / 1000) {
    if (job.status !== "in_progress" || job.progress <= 0) return "";
    const last = this.samples.at(-1);
    if (!last || job.progress > last.progress) this.samples.push({ progress: job.progress, now });
    // The pace of the last reports: compiling at the beginning says nothing of what follows.
    while (this.samples.length > 12) this.samples.shift();
    const first = this.samples[0], latest = this.samples.at(-1);
    if (latest.progress - first.progress < 3) return "";
    const pace = (latest.progress - first.progress) / (latest.now - first.now);
    const left = (100 - latest.progress) / pace - (now - latest.now);
    if (!Number.isFinite(left)) return "";
    if (left < 2) return "a moment left";
    return left < 90 ? `about ${Math.round(left)} s left` : `about ${Math.round(left / 60)} min left`;
  }
}

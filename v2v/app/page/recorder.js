// A recording of the microphone as a WAV file of 16-bit PCM at 16 kHz, one channel, whatever the browser records.

const RATE = 16_000;
// Seconds of silence after speech that end a recording, and how loud speech is at least, of 1.
const PAUSE = 1.6;
const LOUD = 0.02;

export class Recorder {
  #stream;
  #recorder;
  #context;
  #timer = 0;

  /** Begin; `onEnd` is called once when the recording is to be stopped: after a pause, or so many seconds. */
  async start(mostSeconds, onEnd) {
    // Browsers give the microphone to pages of this machine and of https alone.
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) throw new Error("The browser gives the microphone only to pages that come by https or from this machine.");
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const parts = [];
    this.#recorder = new MediaRecorder(this.#stream);
    this.#recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    this.ended = new Promise((resolve) => this.#recorder.addEventListener("stop", () => resolve(new Blob(parts)), { once: true }));
    this.#recorder.start();
    this.#context = new AudioContext();
    const analyser = this.#context.createAnalyser(), values = new Float32Array(analyser.fftSize);
    this.#context.createMediaStreamSource(this.#stream).connect(analyser);
    const began = performance.now();
    let heard = 0; // when something was loud last
    this.#timer = setInterval(() => {
      const now = performance.now();
      analyser.getFloatTimeDomainData(values);
      this.level = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
      if (this.level > LOUD) heard = now;
      if (now - began > mostSeconds * 1000 || (heard && now - heard > PAUSE * 1000)) onEnd();
    }, 100);
  }

  /** Stop, and give the microphone back; return the WAV file. */
  async stop() {
    this.#release();
    this.#recorder.stop();
    const data = await (await this.ended).arrayBuffer();
    try {
      const sound = await this.#context.decodeAudioData(data);
      const target = new OfflineAudioContext(1, Math.max(1, Math.ceil(sound.duration * RATE)), RATE), source = target.createBufferSource();
      source.buffer = sound;
      source.connect(target.destination);
      source.start();
      return writeWav((await target.startRendering()).getChannelData(0), RATE);
    } finally {
      this.#context.close();
    }
  }

  /** Give up what was recorded. */
  cancel() {
    this.#release();
    if (this.#recorder?.state === "recording") this.#recorder.stop();
    this.#context?.close();
  }

  #release() {
    clearInterval(this.#timer);
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
  }
}

/** A WAV file of one channel; samples are -1 to 1. */
export function writeWav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const write = (at, text) => { for (let i = 0; i < text.length; i++) view.setUint8(at + i, text.charCodeAt(i)); };
  write(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  write(8, "WAVEfmt ");
  for (const [at, value] of [[16, 16], [24, rate], [28, 2 * rate], [40, 2 * samples.length]]) view.setUint32(at, value, true);
  for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) view.setUint16(at, value, true);
  write(36, "data");
  samples.forEach((sample, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true));
  return new Blob([view.buffer], { type: "audio/wav" });
}

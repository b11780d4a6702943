// Speaking the instruction: the browser writes down what it hears where it can, else the server, by a service of its own or pocketsphinx.

import { post } from "./api.js";
import { Recorder } from "./recorder.js";

// Errors of the browser's recognition that are no lack of it.
const HARMLESS = ["aborted", "no-speech"];

/**
 * Let a button write what is said into a text field.
 * `server` is {by, seconds, remedy}: what the server writes speech down with ("" for nothing), how long a recording may be, and what is missing.
 */
export function offerSpeech({ button, field, status, server, onError }) {
  const Recognition = window.SpeechRecognition || window.webkitSpeechRecognition;
  let isBrowserAble = Boolean(Recognition);
  let active = null; // stops what listens

  function listen(stop) {
    active = stop;
    button.setAttribute("aria-pressed", stop !== null);
    button.setAttribute("aria-label", stop ? "Stop listening" : "Speak the instruction");
  }

  function write(before, said) {
    field.value = [before, said.trim()].filter(Boolean).join(" ");
    field.dispatchEvent(new Event("input"));
  }

  function recognize() {
    const recognition = new Recognition(), before = field.value.trim();
    let isLacking = false;
    recognition.lang = "en";
    recognition.interimResults = true;
    recognition.onresult = (event) => write(before, [...event.results].map((result) => result[0].transcript).join(""));
    recognition.onerror = (event) => {
      if (event.error === "not-allowed") onError("The browser doesn't let this page use the microphone.");
      else if (!HARMLESS.includes(event.error)) isLacking = true;
    };
    recognition.onend = () => {
      listen(null);
      status.textContent = "";
      if (!isLacking) return;
      isBrowserAble = false; // some have the interface, and nothing behind it
      record();
    };
    listen(() => recognition.stop());
    status.textContent = "Listening …";
    recognition.start();
  }

  async function record() {
    if (!server?.by) {
      onError(`The browser can't write down what is said, and ${server?.remedy ?? "the server can't either"}.`);
      return;
    }
    const recorder = new Recorder(), before = field.value.trim();
    let end;
    const over = new Promise((resolve) => { end = resolve; });
    listen(end);
    status.textContent = "Listening …";
    try {
      await recorder.start(server.seconds - 1, end);
      await over;
      const form = new FormData();
      const recording = await recorder.stop();
      button.disabled = true;
      status.textContent = "Writing it down …";
      form.append("file", recording, "speech.wav");
      const { text } = await post("v1/audio/transcriptions", form);
      if (text) write(before, text);
      else onError("Nothing could be understood; speak again, nearer to the microphone.");
    } catch (error) {
      recorder.cancel();
      const names = { NotAllowedError: "The browser doesn't let this page use the microphone.", NotFoundError: "There is no microphone.", EncodingError: "Nothing was recorded; speak again." };
      onError(names[error.name] ?? error.message);
    } finally {
      button.disabled = false;
      status.textContent = "";
      listen(null);
    }
  }

  button.addEventListener("click", () => {
    if (active) { active(); return; }
    onError("");
    if (isBrowserAble) recognize(); else record();
  });
}

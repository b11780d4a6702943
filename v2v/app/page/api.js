// Requests to the server: the token, errors as one line, files as blobs.

const KEY = "v2v-token";
let token = "";
let askForToken = async () => "";

/** Take the token from the page's address, which is then cleaned of it, or from this tab's memory. */
export function takeToken(ask) {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  token = given || sessionStorage.getItem(KEY) || "";
  askForToken = ask;
}

/** An answer that is an error; its message is one line for people. */
export class ApiError extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function request(path, options = {}) {
  for (;;) {
    const headers = new Headers(options.headers);
    if (token) headers.set("Authorization", `Bearer ${token}`);
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch {
      throw new ApiError(0, "The server doesn't answer. Is v2v still running?", "offline");
    }
    if (answer.status === 401) {
      token = await askForToken();
      sessionStorage.setItem(KEY, token);
      continue;
    }
    if (!answer.ok) {
      const body = await answer.json().catch(() => null);
      throw new ApiError(answer.status, body?.error?.message || `The server answered ${answer.status}.`, body?.error?.code);
    }
    return answer;
  }
}

export const get = async (path) => (await request(path)).json();
export const remove = async (path) => (await request(path, { method: "DELETE" })).json();
export const getBlob = async (path) => (await request(path)).blob();

export async function post(path, content) {
  const isForm = content instanceof FormData;
  const headers = isForm || content === undefined ? {} : { "Content-Type": "application/json" };
  return (await request(path, { method: "POST", headers, body: isForm ? content : JSON.stringify(content) })).json();
}

/** Send a form and tell how much has left, 0 to 1. */
export function upload(path, form, onProgress) {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    sender.open("POST", path);
    if (token) sender.setRequestHeader("Authorization", `Bearer ${token}`);
    sender.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    sender.onerror = () => reject(new ApiError(0, "The connection broke off while the file was sent.", "offline"));
    sender.onload = () => {
      let body = null;
      try { body = JSON.parse(sender.responseText); } catch { /* no JSON: told below */ }
      if (sender.status < 300) resolve(body);
      else reject(new ApiError(sender.status, body?.error?.message || `The server answered ${sender.status}.`, body?.error?.code));
    };
    sender.send(form);
  });
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The page's frame: views, models, settings. Chat and live view are modules of their own.
import { startChat } from "./chat.js";
import { startLive } from "./live.js";

export const $ = (id) => document.getElementById(id);

/** localStorage, or memory where it is forbidden or full. */
const memory = new Map();
export const store = {
  read(key, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`ramjet.${key}`)) ?? memory.get(key) ?? otherwise;
    } catch {
      return memory.get(key) ?? otherwise;
    }
  },
  write(key, value) {
    memory.set(key, value);
    try {
      localStorage.setItem(`ramjet.${key}`, JSON.stringify(value));
    } catch { /* it stays in memory */ }
  },
};

/** A request to this server, with the key if there is one; errors carry the server's own words. */
export async function call(path, options = {}) {
  const headers = { ...options.headers };
  const key = $("key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  let message = `${response.status} ${response.statusText}`;
  try {
    message = (await response.json()).error.message;
  } catch { /* no JSON: the status says it */ }
  if (response.status === 401) message += " Enter the API key under Settings.";
  throw new Error(message);
}

const SETTINGS = ["system", "temperature", "top_p", "top_k", "repetition_penalty", "max_tokens",
  "seed", "schema", "logprobs"];

/** The settings as a request's fields; throws if the schema is no JSON. */
export function requestFields() {
  const fields = {};
  for (const id of ["temperature", "top_p", "top_k", "repetition_penalty", "max_tokens", "seed"]) {
    if ($(id).value !== "") fields[id] = Number($(id).value);
  }
  if ($("schema").value.trim()) {
    let schema;
    try {
      schema = JSON.parse($("schema").value);
    } catch (error) {
      throw new Error(`The schema is no JSON: ${error.message}`);
    }
    fields.response_format = { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
  }
  if ($("logprobs").checked) Object.assign(fields, { logprobs: true, top_logprobs: 5 });
  return fields;
}

function keepSettings() {
  const kept = store.read("settings", {});
  for (const id of SETTINGS) {
    const input = $(id);
    const property = input.type === "checkbox" ? "checked" : "value";
    if (kept[id] !== undefined) input[property] = kept[id];
    input.addEventListener("change", () => {
      store.write("settings", { ...store.read("settings", {}), [id]: input[property] });
    });
  }
  try {  // a key lives as long as the tab
    $("key").value = sessionStorage.getItem("ramjet.key") ?? "";
    $("key").addEventListener("change", () => {
      sessionStorage.setItem("ramjet.key", $("key").value);
      loadModels();
    });
  } catch { /* forbidden: it is asked for again */ }
}

async function loadModels() {
  try {
    const models = (await (await call("v1/models")).json()).data;
    $("model").replaceChildren(...models.map(({ id, max_model_len: most }) => {
      const option = new Option(id, id);
      option.title = `${most} tokens of context`;
      return option;
    }));
    $("status").textContent = "";
    $("status").classList.remove("error");
  } catch (error) {
    $("status").textContent = error.message;
    $("status").classList.add("error");
  }
}

function show(view) {
  for (const name of ["chat", "live"]) {
    const chosen = name === view;
    $(name).hidden = !chosen;
    $(`tab-${name}`).setAttribute("aria-selected", chosen);
    $(`tab-${name}`).tabIndex = chosen ? 0 : -1;
  }
  live.run(view === "live");
  if (view === "chat") $("prompt").focus();
}

function wireTabs() {
  for (const name of ["chat", "live"]) {
    const tab = $(`tab-${name}`);
    tab.addEventListener("click", () => show(name));
    tab.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
      const other = name === "chat" ? "live" : "chat";
      show(other);
      $(`tab-${other}`).focus();
    });
  }
  const open = $("open-settings");
  open.addEventListener("click", () => {
    const settings = $("settings");
    settings.hidden = !settings.hidden;
    open.setAttribute("aria-expanded", !settings.hidden);
    if (!settings.hidden) $("key").focus();
  });
}

keepSettings();
wireTabs();
const live = startLive();
startChat();
loadModels();

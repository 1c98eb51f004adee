// Conversations, kept in this browser, and the stream of an answer.
import { $, call, requestFields, store } from "./app.js";
import { markdown } from "./markdown.js";

let conversations = [];
let current = 0;
let running = null;  // the AbortController of the answer that is being written

const now = () => conversations[current];
const keep = () => store.write("conversations", conversations);

function say(text, error = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", error);
}

/** Red for what the model found unlikely, none for what it was sure of. */
function coloured(tokens) {
  const box = document.createElement("div");
  box.className = "tokens";
  for (const { token, logprob, top_logprobs: top } of tokens) {
    const span = document.createElement("span");
    const likely = Math.exp(logprob);
    span.textContent = token;
    span.style.backgroundColor = `rgb(220 60 40 / ${((1 - likely) * 0.55).toFixed(3)})`;
    span.title = [`${(likely * 100).toFixed(1)} %`,
      ...(top ?? []).map((t) => `${JSON.stringify(t.token)} ${(Math.exp(t.logprob) * 100).toFixed(1)} %`),
    ].join("\n");
    box.append(span);
  }
  return box;
}

function fill(node, message) {
  const who = document.createElement("div");
  who.className = "who";
  who.textContent = message.role === "user" ? "You" : message.model ?? "Model";
  const parts = [who];
  if (message.reasoning) {
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = "Reasoning";
    details.append(summary, ...markdown(message.reasoning));
    details.open = !message.content;
    parts.push(details);
  }
  parts.push(...(message.tokens ? [coloured(message.tokens)] : markdown(message.content)));
  if (message.figures) {
    const figures = document.createElement("div");
    figures.className = "figures";
    figures.textContent = message.figures;
    parts.push(figures);
  }
  node.className = `message ${message.role}`;
  node.replaceChildren(...parts);
}

function add(message) {
  const node = document.createElement("div");
  fill(node, message);
  $("messages").append(node);
  return node;
}

function draw() {
  $("messages").replaceChildren();
  now().messages.forEach(add);
  $("conversation-list").replaceChildren(...conversations.map((conversation, i) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.textContent = conversation.messages[0]?.content.slice(0, 60) || "New conversation";
    if (i === current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => {
      if (running) return;
      current = i;
      draw();
      $("prompt").focus();
    });
    item.append(button);
    return item;
  }));
  $("again").disabled = running !== null || now().messages.length === 0;
  $("messages").scrollTop = $("messages").scrollHeight;
}

/** The events of a stream of server-sent events, as objects; an event may come in any pieces. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const pieces = (rest + value).split("\n\n");
    rest = pieces.pop();
    for (const piece of pieces) {
      const data = piece.split("\n").filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trimStart()).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

function figures(answer, usage, begin, first, end, finish) {
  const seconds = (end - (first ?? end)) / 1000;
  const parts = [];
  if (usage) {
    const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
    parts.push(`${usage.prompt_tokens} tokens in${cached ? ` (${cached} cached)` : ""}, ${usage.completion_tokens} out`);
    if (seconds > 0 && usage.completion_tokens > 1) {
      parts.push(`${((usage.completion_tokens - 1) / seconds).toFixed(1)} tokens a second`);
    }
  }
  if (first) parts.push(`first after ${Math.round(first - begin)} ms`);
  if (finish && finish !== "stop") parts.push(finish);
  answer.figures = parts.join(", ");
}

/** Streams the answer to what stands in the conversation. */
async function answerIt() {
  const conversation = now();
  const messages = conversation.messages.map(({ role, content }) => ({ role, content }));
  if ($("system").value.trim()) messages.unshift({ role: "system", content: $("system").value });
  const answer = { role: "assistant", content: "", reasoning: "", model: $("model").value };
  running = new AbortController();
  let node, usage, first, finish;
  const begin = performance.now();
  try {
    const body = { model: $("model").value, messages, stream: true,
      stream_options: { include_usage: true }, ...requestFields() };
    $("send").disabled = $("again").disabled = true;
    $("stop").disabled = false;
    say("Waiting for the first token");
    const response = await call("v1/chat/completions", { method: "POST", signal: running.signal,
      headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    node = add(answer);
    let drawn = 0;
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      usage = event.usage ?? usage;
      const choice = event.choices?.[0];
      if (!choice) continue;
      finish = choice.finish_reason ?? finish;
      answer.content += choice.delta?.content ?? "";
      answer.reasoning += choice.delta?.reasoning ?? "";
      if (choice.logprobs?.content) (answer.tokens ??= []).push(...choice.logprobs.content);
      if (!choice.delta?.content && !choice.delta?.reasoning) continue;
      first ??= performance.now();
      if (performance.now() - drawn < 40) continue;
      drawn = performance.now();
      say(`${((drawn - begin) / 1000).toFixed(1)} s`);
      const log = $("messages");
      const below = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
      fill(node, answer);
      if (below) log.scrollTop = log.scrollHeight;
    }
    say("");
  } catch (error) {
    if (error.name === "AbortError") {
      say("Stopped");
      finish = "stopped";
    } else {
      say(error.message, true);
    }
  }
  running = null;
  $("send").disabled = false;
  $("stop").disabled = true;
  if (answer.content || answer.reasoning) {
    figures(answer, usage, begin, first, performance.now(), finish);
    conversation.messages.push(answer);
  }
  keep();
  draw();
}

function sendPrompt() {
  const text = $("prompt").value.trim();
  if (!text || running) return;
  $("prompt").value = "";
  now().messages.push({ role: "user", content: text });
  keep();
  draw();
  answerIt();
}

function again() {
  if (running) return;
  if (now().messages.at(-1)?.role === "assistant") now().messages.pop();
  draw();
  answerIt();
}

export function startChat() {
  conversations = store.read("conversations", []);
  if (conversations.length === 0) conversations.push({ messages: [] });
  current = conversations.length - 1;
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    sendPrompt();
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      sendPrompt();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("again").addEventListener("click", again);
  $("new-conversation").addEventListener("click", () => {
    if (running) return;
    if (now().messages.length > 0) conversations.push({ messages: [] });
    current = conversations.length - 1;
    keep();
    draw();
    $("prompt").focus();
  });
  $("delete-conversation").addEventListener("click", () => {
    if (running) return;
    conversations.splice(current, 1);
    if (conversations.length === 0) conversations.push({ messages: [] });
    current = Math.min(current, conversations.length - 1);
    keep();
    draw();
  });
  draw();
  $("prompt").focus();
}

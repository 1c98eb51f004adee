// What the server does now, from its own /metrics once a second: figures and lines over two minutes.
import { $, call } from "./app.js";

const SPAN = 120;  // seconds that a chart shows
const history = [];
let timer = null;

/** Prometheus' text form: {name: value} for samples, {name: [[le, count], ...]} for histograms. */
export function parseMetrics(text) {
  const samples = {}, buckets = {};
  for (const line of text.split("\n")) {
    const match = /^([\w:]+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match || line.startsWith("#")) continue;
    const [, name, labels, value] = match;
    const bound = /(?:^|,)le="([^"]*)"/.exec(labels ?? "");
    if (bound) {
      const base = name.replace(/_bucket$/, "");
      (buckets[base] ??= []).push([bound[1] === "+Inf" ? Infinity : Number(bound[1]), Number(value)]);
    } else {
      samples[name] = (samples[name] ?? 0) + Number(value);
    }
  }
  return { samples, buckets };
}

/** The q-quantile of what a histogram gained between two readings; null if it gained nothing. */
export function quantile(after, before, q) {
  if (!after) return null;
  const gained = after.map(([bound, count], i) => [bound, count - (before?.[i]?.[1] ?? 0)]);
  const total = gained.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  let low = 0, below = 0;
  for (const [bound, count] of gained) {
    if (count >= q * total) {
      if (bound === Infinity) return low;
      return low + (bound - low) * (count > below ? (q * total - below) / (count - below) : 1);
    }
    [low, below] = [bound, count];
  }
  return low;
}

const number = (value, digits = 0) => value === null || !Number.isFinite(value) ? "\u2013"
  : value.toLocaleString(undefined, { maximumFractionDigits: digits });
const milliseconds = (seconds) => seconds === null ? "\u2013" : `${number(seconds * 1000, seconds < 0.01 ? 1 : 0)} ms`;

/** What one reading and the one before it (and one ten seconds before) amount to. */
function point(reading, last, past) {
  const value = (name) => reading.samples[name] ?? 0;
  const rate = (name) => last ? (value(name) - (last.samples[name] ?? 0)) / (reading.at - last.at) : 0;
  const since = (name) => value(name) - (past?.samples[name] ?? 0);
  const of = (name, q) => quantile(reading.buckets[name], past?.buckets[name], q);
  const looked = since("ramjet:prefix_cache_queries_total");
  return {
    running: value("ramjet:num_requests_running"), waiting: value("ramjet:num_requests_waiting"),
    out: rate("ramjet:generation_tokens_total"), in: rate("ramjet:prompt_tokens_total"),
    kv: value("ramjet:kv_cache_usage_perc"), blocks: value("trtllm_kv_cache_max_blocks"),
    hits: looked > 0 ? since("ramjet:prefix_cache_hits_total") / looked : null,
    ttft50: of("ramjet:time_to_first_token_seconds", 0.5), ttft99: of("ramjet:time_to_first_token_seconds", 0.99),
    itl50: of("ramjet:inter_token_latency_seconds", 0.5), itl99: of("ramjet:inter_token_latency_seconds", 0.99),
    batch: last && rate("ramjet:iteration_tokens_total_count") > 0
      ? rate("ramjet:iteration_tokens_total_sum") / rate("ramjet:iteration_tokens_total_count") : 0,
    preemptions: value("ramjet:num_preemptions_total"),
  };
}

const FIGURES = [
  ["Running", (p) => number(p.running)], ["Waiting", (p) => number(p.waiting)],
  ["Tokens out a second", (p) => number(p.out)], ["Tokens in a second", (p) => number(p.in)],
  ["First token, median / p99", (p) => `${milliseconds(p.ttft50)} / ${milliseconds(p.ttft99)}`],
  ["Between tokens, median / p99", (p) => `${milliseconds(p.itl50)} / ${milliseconds(p.itl99)}`],
  ["KV blocks in use", (p) => `${number(p.kv * p.blocks)} of ${number(p.blocks)}`],
  ["Prompt tokens from the cache", (p) => p.hits === null ? "\u2013" : `${number(p.hits * 100, 1)} %`],
  ["Tokens a step", (p) => number(p.batch, 1)], ["Preemptions", (p) => number(p.preemptions)],
];

const CHARTS = [
  ["Requests: ", ["running", (p) => p.running], ["waiting", (p) => p.waiting]],
  ["Tokens a second: ", ["out", (p) => p.out], ["in", (p) => p.in]],
  ["KV cache in use, %: ", ["blocks", (p) => p.kv * 100]],
  ["First token, ms: ", ["median", (p) => p.ttft50 * 1000], ["p99", (p) => p.ttft99 * 1000]],
  ["Between tokens, ms: ", ["median", (p) => p.itl50 * 1000], ["p99", (p) => p.itl99 * 1000]],
  ["Batch, tokens a step: ", ["tokens", (p) => p.batch]],
];

function line(name, values, top) {
  const path = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const x = (i) => SPAN - values.length + 1 + i;
  path.setAttribute("points", values.map((v, i) => `${x(i)},${(100 - (95 * v) / top).toFixed(2)}`).join(" "));
  path.setAttribute("class", name);
  return path;
}

function chart([title, ...series]) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${SPAN} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const lines = series.map(([, of]) => history.map(({ shown }) => of(shown) || 0));
  const top = Math.max(1e-9, ...lines.flat());
  caption.append(title);
  series.forEach(([name], i) => {
    const key = document.createElement("span");
    key.className = i ? "key-second" : "key-first";
    key.textContent = `${name} ${number(lines[i].at(-1), 1)} `;
    caption.append(key);
    svg.append(line(i ? "second" : "first", lines[i], top));
  });
  caption.append(`(top ${number(top, 1)})`);
  svg.setAttribute("aria-label", caption.textContent);
  figure.append(caption, svg);
  return figure;
}

function draw() {
  const { shown } = history.at(-1);
  $("figures").replaceChildren(...FIGURES.map(([title, of]) => {
    const box = document.createElement("div");
    const value = document.createElement("b");
    const label = document.createElement("span");
    box.className = "figure";
    value.textContent = of(shown);
    label.textContent = title;
    box.append(value, label);
    return box;
  }));
  $("charts").replaceChildren(...CHARTS.map(chart));
}

async function look() {
  try {
    const reading = parseMetrics(await (await call("metrics")).text());
    reading.at = performance.now() / 1000;
    const past = history.findLast((h) => reading.at - h.reading.at >= 10) ?? history[0];
    history.push({ reading, shown: point(reading, history.at(-1)?.reading, past?.reading) });
    if (history.length > SPAN) history.shift();
    draw();
    $("live-status").textContent = "";
    $("live-status").classList.remove("error");
  } catch (error) {
    $("live-status").textContent = error.message;
    $("live-status").classList.add("error");
  }
}

/** run(true) looks once a second until run(false). */
export function startLive() {
  return {
    run(on) {
      if (on === (timer !== null)) return;
      if (on) {
        look();
        timer = setInterval(look, 1000);
      } else {
        clearInterval(timer);
        timer = null;
      }
    },
  };
}

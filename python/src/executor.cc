// Engines, executors, text and encoders.
#include <pybind11/stl.h>
#include <ramjet/beam_search.h>
#include <ramjet/builder.h>
#include <ramjet/encoder.h>
#include <ramjet/executor.h>
#include <ramjet/text.h>

#include "common.h"
#include "event_queue.h"

namespace ramjet::python {
namespace {

using EnginePtr = std::shared_ptr<Engine>;
using QueuePtr = std::shared_ptr<EventQueue>;
using Ids = std::vector<int32_t>;

/// Engines are immutable; pybind11's holders know no const.
EnginePtr shared(std::shared_ptr<const Engine> engine) {
  return std::const_pointer_cast<Engine>(std::move(engine));
}

/// Moves what a dict has under `name` into `out`, and counts it.
class Reader {
 public:
  explicit Reader(const py::dict& dict) : dict_(dict) {}
  template <class T>
  Reader& operator()(const char* name, T& out) {
    if (!dict_.contains(name)) return *this;
    ++seen_;
    const py::object value = dict_[name];
    if (!value.is_none()) out = value.cast<T>();
    return *this;
  }
  /// An unknown name is the caller's mistake.
  void finish(const char* what) const {
    if (seen_ == dict_.size()) return;
    raise({ErrorCode::kInvalidArgument, std::string("unknown option among those of ") + what});
  }

 private:
  const py::dict& dict_;
  size_t seen_ = 0;
};

BuildOptions build_options(const py::dict& dict) {
  BuildOptions options;
  std::string weights;
  Reader read(dict);
  read("dtype", options.dtype)("quantize", options.quantize)("kv_dtype", options.kv_dtype);
  read("target", options.target)("tp", options.tp)("pp", options.pp)("tune", options.tune);
  read("max_batch_size", options.max_batch_size)("max_seq_len", options.max_seq_len);
  read("max_num_tokens", options.max_num_tokens)("dummy_weights", weights);
  read("batch_invariant", options.batch_invariant)("disabled_passes", options.disabled_passes);
  read.finish("build");
  if (weights == "seed") options.weights = BuildOptions::Weights::kDummySeed;
  if (weights == "stored") options.weights = BuildOptions::Weights::kDummyStored;
  return options;
}

ExecutorConfig executor_config(const py::dict& dict) {
  ExecutorConfig config;
  bool no_evict = false;
  Reader read(dict);
  read("kv_bytes", config.kv_bytes)("kv_fraction", config.kv_fraction);
  read("max_batch_size", config.max_batch_size)("max_num_tokens", config.max_num_tokens);
  read("max_queue", config.max_queue)("num_threads", config.num_threads);
  read("prefix_caching", config.prefix_caching)("guaranteed_no_evict", no_evict);
  read("step_deadline_s", config.step_deadline_s);
  read.finish("the executor");
  if (no_evict) config.capacity = CapacityPolicy::kGuaranteedNoEvict;
  return config;
}

Request request_of(const py::dict& dict) {
  Request request;
  SamplingParams& sampling = request.sampling;
  LogitControls& controls = sampling.controls;
  StopConditions& stop = sampling.stop;
  Reader read(dict);
  read("prompt_ids", request.prompt_ids)("n", request.n)("priority", request.priority);
  read("deadline_s", request.deadline_s)("grammar", request.grammar);
  read("cache_salt", request.cache_salt);
  read("temperature", sampling.temperature)("top_k", sampling.top_k)("top_p", sampling.top_p);
  read("min_p", sampling.min_p)("logprobs", sampling.logprobs);
  read("prompt_logprobs", sampling.prompt_logprobs)("bias", controls.bias);
  read("repetition_penalty", controls.repetition_penalty);
  read("presence_penalty", controls.presence_penalty);
  read("frequency_penalty", controls.frequency_penalty);
  read("allowed_ids", controls.allowed_ids)("bad_words", controls.bad_words);
  read("max_tokens", stop.max_tokens)("min_tokens", stop.min_tokens)("stop_ids", stop.stop_ids);
  read("ignore_eos", stop.ignore_eos);
  uint64_t seed = 0;
  if (dict.contains("seed")) {
    read("seed", seed);
    sampling.seed = seed;
  }
  read.finish("a request");
  return request;
}

py::dict report_dict(const BuildReport& report) {
  py::dict passes;
  for (const PassTime& pass : report.passes) passes[py::str(pass.name)] = pass.ms;
  py::dict out;
  out["path"] = report.path;
  out["bytes"] = report.bytes;
  out["target"] = report.target;
  out["seconds"] = report.seconds;
  out["passes"] = passes;
  out["tuned"] = report.tuned;
  return out;
}

py::dict model_dict(const Engine& engine) {
  const ModelInfo& model = engine.model();
  py::dict out;
  out["name"] = model.name;
  out["architecture"] = model.architecture;
  out["parameters"] = model.parameters;
  out["vocab_size"] = model.vocab_size;
  out["num_layers"] = model.num_layers;
  out["max_seq_len"] = model.max_seq_len;
  out["eos_ids"] = model.eos_ids;
  out["bos_id"] = model.bos_id;
  out["max_batch_size"] = engine.limits().max_batch_size;
  out["max_num_tokens"] = engine.limits().max_num_tokens;
  out["is_encoder"] = !engine.asset("encoder").empty();
  return out;
}

py::object finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return py::str("stop");
    case FinishReason::kLength: return py::str("length");
    case FinishReason::kCancelled: return py::str("abort");
    case FinishReason::kError: return py::str("error");
    case FinishReason::kNone: break;
  }
  return py::none();
}

/// A list of (id, logprob, rank) a position, the chosen token first.
py::list logprob_list(const std::vector<PositionLogprobs>& positions, bool prompt) {
  py::list out;
  for (const PositionLogprobs& position : positions) {
    py::list tokens;
    const bool empty = prompt && out.size() == 0;  // nothing comes before the first
    const auto add = [&](const TokenLogprob& token) {
      tokens.append(py::make_tuple(token.id, token.logprob, token.rank));
    };
    if (!empty) add(position.chosen);
    for (const TokenLogprob& token : position.top) add(token);
    out.append(tokens);
  }
  return out;
}

py::object error_tuple(const std::optional<Error>& error) {
  if (!error) return py::none();
  return py::make_tuple(std::string(error_code_name(error->code)), error->message);
}

py::dict event_dict(uint64_t tag, const RequestOutput& output) {
  py::dict out;
  out["tag"] = tag;
  out["index"] = output.index;
  out["ids"] = output.ids;
  out["finish"] = finish_name(output.finish);
  out["stop_id"] = output.stop_id;
  out["error"] = error_tuple(output.error);
  out["last"] = output.last;
  out["cached_tokens"] = output.cached_tokens;
  if (!output.logprobs.empty()) out["logprobs"] = logprob_list(output.logprobs, false);
  if (!output.prompt_logprobs.empty()) {
    out["prompt_logprobs"] = logprob_list(output.prompt_logprobs, true);
  }
  return out;
}

py::list wait(EventQueue& queue, double timeout_s) {
  const auto events =
      unlocked([&] { return queue.wait(std::chrono::duration<double>(timeout_s)); });
  py::list out;
  for (const auto& [tag, output] : events) out.append(event_dict(tag, output));
  return out;
}

py::dict stats_dict(const ExecutorStats& stats) {
  py::dict out;
  out["device"] = stats.device;
  out["requests_running"] = stats.requests_running;
  out["requests_waiting"] = stats.requests_waiting;
  out["kv_blocks_total"] = stats.kv_blocks_total;
  out["kv_blocks_active"] = stats.kv_blocks_active;
  out["kv_blocks_cached"] = stats.kv_blocks_cached;
  out["kv_bytes"] = stats.kv_bytes;
  out["prompt_tokens"] = stats.prompt_tokens;
  out["generation_tokens"] = stats.generation_tokens;
  out["prefix_queries"] = stats.prefix_queries;
  out["prefix_hits"] = stats.prefix_hits;
  out["preemptions"] = stats.preemptions;
  out["steps"] = stats.steps;
  return out;
}

/// Executors end without the GIL: their threads may be in a step.
struct Unlocked {
  void operator()(Executor* executor) const {
    unlocked([executor] { delete executor; });
  }
};

std::vector<std::vector<std::tuple<Ids, float, bool>>> search(Executor& executor,
                                                              const std::vector<Ids>& prompts,
                                                              const py::dict& options) {
  BeamRequest common;
  double timeout_s = 86400;
  Reader read(options);
  read("width", common.width)("count", common.count)("max_tokens", common.max_tokens);
  read("length_penalty", common.length_penalty)("eos_ids", common.eos_ids);
  read("timeout_s", timeout_s);
  read.finish("beam search");
  std::vector<BeamRequest> requests(prompts.size(), common);
  for (size_t i = 0; i < prompts.size(); ++i) requests[i].prompt_ids = prompts[i];
  const auto found = take(unlocked([&] { return beam_search(executor, requests, timeout_s); }));
  std::vector<std::vector<std::tuple<Ids, float, bool>>> out;
  for (const auto& beams : found) {
    out.emplace_back();
    for (const Beam& beam : beams) out.back().emplace_back(beam.ids, beam.score, beam.stopped);
  }
  return out;
}

void add_engine(py::module_& m) {
  m.def("resolve_engine", [](const std::string& model, const py::dict& options) {
    const BuildOptions build = build_options(options);
    return take(unlocked([&] { return resolve_engine(model, build); }));
  });
  m.def("build_engine",
        [](const std::string& model, const std::string& path, const py::dict& options) {
          const BuildOptions build = build_options(options);
          return report_dict(take(unlocked([&] { return build_engine(model, path, build); })));
        });
  m.def("build_network",
        [](const Network& network, const std::string& path, const py::dict& options) {
          const BuildOptions build = build_options(options);
          return report_dict(take(unlocked([&] { return build_network(network, path, build); })));
        });
  m.def("set_log_level", [](const std::string& level) { check(set_log_level(level)); });
  py::class_<Engine, EnginePtr> engines(m, "Engine");
  engines.def_static("load", [](const std::string& path) {
    return shared(take(unlocked([&] { return Engine::load(path); })));
  });
  engines.def_property_readonly("model", model_dict);
  engines.def_property_readonly("path", &Engine::path);
  engines.def_property_readonly("target", &Engine::target);
  engines.def("encode", [](const Engine& engine, const std::string& text, bool special) {
    return take(tokenize(engine, text, special));
  });
  engines.def("decode",
              [](const Engine& engine, const Ids& ids) { return take(engine.decode(ids)); });
  engines.def("bad_word_ids", [](const Engine& engine, const std::vector<std::string>& words) {
    return take(bad_word_ids(engine, words));
  });
  engines.def("chat_prompt", [](const Engine& engine, const std::string& messages,
                                const py::dict& options) {
    ChatOptions chat;
    Reader read(options);
    read("tools", chat.tools)("kwargs", chat.kwargs)("chat_template", chat.chat_template);
    read("add_generation_prompt", chat.add_generation_prompt);
    read("continue_final_message", chat.continue_final_message);
    read.finish("a chat");
    return take(unlocked([&] { return chat_prompt(engine, messages, chat); }));
  });
}

void add_text_stream(py::module_& m) {
  py::class_<TextStream> streams(m, "TextStream");
  streams.def(py::init([](const EnginePtr& engine, const py::dict& options, const Ids& prompt_ids) {
    TextStreamOptions stream;
    Reader read(options);
    read("stop", stream.stop)("include_stop", stream.include_stop);
    read("skip_special", stream.skip_special);
    read.finish("a text stream");
    return take(TextStream::create(engine, std::move(stream), prompt_ids));
  }));
  streams.def("push", [](TextStream& stream, const Ids& ids) { return stream.push(ids); });
  streams.def("finish", &TextStream::finish);
  streams.def_property_readonly("stopped_by", &TextStream::stopped_by);
}

void add_executor_class(py::module_& m) {
  py::class_<EventQueue, QueuePtr> queues(m, "EventQueue");
  queues.def(py::init<>());
  queues.def("wait", wait);
  queues.def("fileno", &EventQueue::fileno);
  py::class_<Executor, std::unique_ptr<Executor, Unlocked>> executors(m, "Executor");
  executors.def(py::init([](const EnginePtr& engine, const py::dict& options) {
    const ExecutorConfig config = executor_config(options);
    auto executor = take(unlocked([&] { return Executor::create(engine, config); }));
    return std::unique_ptr<Executor, Unlocked>(executor.release());
  }));
  executors.def(
      "submit", [](Executor& executor, const py::dict& dict, const QueuePtr& queue, uint64_t tag) {
        Request request = request_of(dict);
        const auto forward = [queue, tag](RequestOutput&& output) {
          queue->push(tag, std::move(output));
        };
        return take(unlocked([&] { return executor.submit(std::move(request), forward); }));
      });
  executors.def("cancel", [](Executor& executor, uint64_t id) { executor.cancel(id); });
  executors.def("cancel",
                [](Executor& executor, uint64_t id, int index) { executor.cancel(id, index); });
  executors.def("stats", [](const Executor& executor) { return stats_dict(executor.stats()); });
  executors.def("health", [](const Executor& executor) { check(executor.health()); });
  executors.def("check_integrity", [](const Executor& executor) {
    check(unlocked([&] { return executor.check_integrity(); }));
  });
  executors.def("drain", [](Executor& executor, double deadline_s) {
    check(unlocked([&] { return executor.drain(deadline_s); }));
  });
  executors.def("beam_search", search);
}

using Rows = std::vector<std::vector<float>>;

std::vector<EncoderInput> inputs_of(const std::vector<Ids>& ids) {
  std::vector<EncoderInput> inputs;
  for (const Ids& one : ids) inputs.push_back({one, {}});
  return inputs;
}

Pooling pooling_of(const std::string& name) {
  if (name == "auto") return Pooling::kAuto;
  if (name == "mean") return Pooling::kMean;
  if (name == "cls" || name == "first") return Pooling::kFirst;
  if (name == "last") return Pooling::kLast;
  raise({ErrorCode::kInvalidArgument,
         "pooling '" + name + "': known are auto, mean, cls (first) and last"});
}

void add_encoder_class(py::module_& m) {
  py::class_<Encoder> encoders(m, "Encoder");
  encoders.def(py::init([](const EnginePtr& engine, int num_threads) {
    return take(unlocked([&] { return Encoder::create(engine, num_threads); }));
  }));
  encoders.def("embed", [](Encoder& encoder, const std::vector<Ids>& ids,
                           const std::string& pooling, bool normalize) {
    const auto inputs = inputs_of(ids);
    const EmbedOptions options{pooling_of(pooling), normalize};
    return take(unlocked([&] { return encoder.embed(inputs, options); }));
  });
  encoders.def("scores", [](Encoder& encoder, const std::vector<Ids>& ids) {
    const auto inputs = inputs_of(ids);
    return take(unlocked([&] { return encoder.scores(inputs); }));
  });
  encoders.def_property_readonly("width", &Encoder::width);
  encoders.def_property_readonly("max_tokens", &Encoder::max_tokens);
  encoders.def_property_readonly("has_head", &Encoder::has_head);
  encoders.def_property_readonly("scores_tokens", &Encoder::scores_tokens);
  encoders.def_property_readonly("labels", &Encoder::labels);
}

}  // namespace

void add_executor(py::module_& module) {
  add_engine(module);
  add_text_stream(module);
  add_executor_class(module);
  add_encoder_class(module);
}

}  // namespace ramjet::python

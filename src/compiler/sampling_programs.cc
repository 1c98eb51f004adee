#include "compiler/sampling_programs.h"

#include <algorithm>

#include "op/sampling.h"

namespace ramjet::compiler {
namespace {

constexpr int64_t kEditsOfASequence = 512;  // on average; a step with more samples on the host

TensorType ids(std::vector<Dim> dims) { return {DType::kI32, std::move(dims)}; }

Symbol up_to(std::string name, int64_t min, int64_t max) {
  return {std::move(name), min, max, max};
}

ir::Graph sample_program(const Symbol& sequences, const Symbol& logit_rows, int64_t vocab) {
  ir::Graph graph;
  graph.name = "sample";
  const int64_t most = sequences.max;
  const Dim rows = Dim::of(graph.add_symbol({"rows", 1, sequences.opt, most}));
  const Dim logits = Dim::of(graph.add_symbol(logit_rows));
  const Dim edits = Dim::of(graph.add_symbol(up_to("edits", 0, most * kEditsOfASequence)));
  const Dim masks = Dim::of(graph.add_symbol(up_to("masks", 0, most)));
  const Dim counts = Dim::of(graph.add_symbol(up_to("count_rows", 0, most)));
  const Dim slots = Dim::of(graph.add_symbol(up_to("slots", 1, most)));
  const std::vector<ir::ValueId> inputs = {
      graph.add_input("logits", {DType::kF32, {logits, Dim(vocab)}}),
      graph.add_input("sample_params", ids({rows, Dim(kSampleWords)})),
      graph.add_input("sample_edits", ids({edits, Dim(kEditWords)})),
      graph.add_input("sample_masks", ids({masks, Dim(mask_words(vocab))})),
      graph.add_input("sample_counts", ids({counts, Dim(count_words(vocab))})),
      graph.add_input("chosen", ids({slots}))};
  const ir::NodeId node =
      graph.add_node(OpKind::kSample, inputs,
                     {ids({rows, Dim(kSampleResultWords)}), ids({rows, Dim(2 * kMaxTopLogprobs)})},
                     std::monostate{}, "sample");
  graph.outputs = {{"results", graph.result(node, 0)}, {"tops", graph.result(node, 1)}};
  return graph;
}

ir::Graph resolve_program(const Symbol& tokens, const Symbol& sequences) {
  ir::Graph graph;
  graph.name = "resolve";
  const Dim count = Dim::of(graph.add_symbol(tokens));
  const Dim slots = Dim::of(graph.add_symbol(up_to("slots", 1, sequences.max)));
  const ir::ValueId token_ids = graph.add_input("token_ids", ids({count}));
  const ir::ValueId chosen = graph.add_input("chosen", ids({slots}));
  const ir::NodeId node = graph.add_node(OpKind::kResolveTokens, {token_ids, chosen},
                                         {ids({count})}, std::monostate{}, "resolve");
  graph.outputs = {{"resolved_ids", graph.result(node)}};
  return graph;
}

}  // namespace

std::vector<ir::Graph> sampling_programs(const ir::Graph& main) {
  const auto tokens = main.find_symbol("tokens"), sequences = main.find_symbol("sequences"),
             rows = main.find_symbol("logit_rows");
  const bool takes_ids = std::any_of(main.values.begin(), main.values.end(), [](const auto& value) {
    return value.kind == ir::Value::Kind::kInput && value.name == "token_ids";
  });
  if (!tokens || !sequences || !rows || !takes_ids || main.outputs.size() != 1) return {};
  const TensorType& logits = main.value(main.outputs[0].value).type;
  const bool fits = logits.dtype == DType::kF32 && logits.rank() == 2 &&
                    logits.dims[0] == Dim::of(*rows) && logits.dims[1].fixed();
  if (!fits) return {};
  const auto symbol = [&](std::optional<int> at) -> const Symbol& {
    return main.symbols[static_cast<size_t>(*at)];
  };
  std::vector<ir::Graph> graphs;
  graphs.push_back(sample_program(symbol(sequences), symbol(rows), logits.dims[1].offset));
  graphs.push_back(resolve_program(symbol(tokens), symbol(sequences)));
  return graphs;
}

}  // namespace ramjet::compiler

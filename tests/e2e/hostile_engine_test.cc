// Engines whose manifest is well-formed and wrong: they are refused, or run to an end. The file's
// own checks (checksums, ranges) are met on purpose, so that what is behind them is tested.
#include <gmock/gmock.h>

#include <functional>
#include <map>
#include <random>

#include "engine/engine_file.h"
#include "golden.h"

namespace ramjet::e2e {
namespace {

using engine::EngineFile;
using engine::LaunchRecord;
using engine::Manifest;
using engine::Space;

const std::string& sound_path(const std::string& model) {
  static std::map<std::string, std::string> made;
  std::string& path = made[model];
  if (path.empty()) {
    path = testing::TempDir() + "/sound-" + model + "-" + std::to_string(::getpid());
    EXPECT_TRUE(build_engine("tests/data/models/" + model, path, f32_options()).ok());
  }
  return path;
}

/// The sound engine's sections under another manifest; an error if the manifest itself is refused.
Status write_engine(const EngineFile& sound, const Manifest& manifest, const std::string& path) {
  ASSIGN_OR_RETURN(auto writer, engine::EngineWriter::create(path));
  for (const engine::SectionInfo& section : sound.sections()) {
    if (!section.name.starts_with("asset/")) continue;
    RETURN_IF_ERROR(writer.add_section(section.name, sound.section(section.name)));
  }
  RETURN_IF_ERROR(writer.begin_weights());
  for (size_t i = 0; i < sound.manifest().weights.size(); ++i) {
    RETURN_IF_ERROR(writer.append_weight(sound.weight(i)));
  }
  RETURN_IF_ERROR(writer.end_weights());
  RETURN_IF_ERROR(writer.finish(manifest));
  return ok_status();
}

/// Loads and uses an engine; the first error, if any.
Status use(const std::string& path) {
  auto loaded = Engine::load(path);
  if (!loaded.ok()) return loaded.error();
  ExecutorConfig config;
  config.kv_bytes = 1 << 22;
  auto executor = Executor::create(*loaded, config);
  if (!executor.ok()) return executor.error();
  Request request = greedy_request({5, 87, 38, 20, 41, 7, 9, 100, 3}, 24);
  request.n = 2;
  auto generated = (*executor)->generate(request, 20);
  if (!generated.ok()) return generated.error();
  EXPECT_TRUE((*executor)->check_integrity().ok());
  return ok_status();
}

class HostileEngine : public testing::Test {
 protected:
  virtual std::string model() const { return "tiny-llama"; }
  void SetUp() override {
    auto file = EngineFile::open(sound_path(model()));
    ASSERT_TRUE(file.ok()) << file.error().message;
    sound_ = std::make_unique<EngineFile>(std::move(*file));
  }
  Status use_changed(const Manifest& manifest) {
    const std::string path = testing::TempDir() + "/hostile-" + std::to_string(::getpid());
    Status status = write_engine(*sound_, manifest, path);
    if (status.ok()) status = use(path);
    std::filesystem::remove(path);
    return status;
  }
  /// The changed engine must be refused with these words.
  void refused(std::string_view why, const std::function<void(Manifest&)>& change) {
    Manifest manifest = sound_->manifest();
    change(manifest);
    const Status status = use_changed(manifest);
    ASSERT_FALSE(status.ok()) << why;
    EXPECT_THAT(status.error().message, testing::HasSubstr(why));
  }
  static LaunchRecord& record(Manifest& m, OpKind op) {
    for (LaunchRecord& r : m.programs[0].records) {
      if (r.op == op) return r;
    }
    ADD_FAILURE() << "no " << op_name(op);
    return m.programs[0].records[0];
  }
  static engine::WeightEntry& weight(Manifest& m, std::string_view layout) {
    for (engine::WeightEntry& w : m.weights) {
      if (w.layout.starts_with(layout)) return w;
    }
    ADD_FAILURE() << "no weight in " << layout;
    return m.weights[0];
  }

  std::unique_ptr<EngineFile> sound_;
};

TEST_F(HostileEngine, TheSoundOneRuns) {
  const Status status = use_changed(sound_->manifest());
  EXPECT_TRUE(status.ok()) << status.error().message;
}

TEST_F(HostileEngine, EachLieIsNamed) {
  refused("cannot run this matmul", [](Manifest& m) {
    record(m, OpKind::kMatmul).choices[0].tactic = "cpu.reference.norm.v1";
  });
  refused("which this build lacks", [](Manifest& m) {
    record(m, OpKind::kMatmul).choices[0].tactic = "cpu.reference.matmul.v99";
  });
  refused("wants row_major", [](Manifest& m) {
    for (auto& choice : record(m, OpKind::kMatmul).choices) {
      choice.tactic = "cpu.reference.matmul.v1";
    }
  });
  refused("wants", [](Manifest& m) { weight(m, "cpu.").bytes -= 64; });
  refused("layout", [](Manifest& m) { weight(m, "cpu.").layout = "cpu.n99.v1"; });
  refused("workspace", [](Manifest& m) { record(m, OpKind::kPagedAttention).workspace = -1; });
  refused("follows as", [](Manifest& m) {
    auto& type = record(m, OpKind::kMatmul).outputs[0].type;
    type.dims.back() = Dim(type.dims.back().offset / 2);
  });
  refused("is not the input 'kv_len'", [](Manifest& m) {  // prompt_len has the same type
    for (size_t i = 0; i < m.programs[0].inputs.size(); ++i) {
      if (m.programs[0].inputs[i].name != "prompt_len") continue;
      record(m, OpKind::kPagedAttention).inputs[2].index = static_cast<int32_t>(i);
    }
  });
  refused("rows for 1048576 positions", [](Manifest& m) {
    m.model.max_seq_len = 1 << 20;
    auto& ref = record(m, OpKind::kEmbedding).inputs[0];
    for (size_t i = 0; i < m.programs[0].inputs.size(); ++i) {
      if (m.programs[0].inputs[i].name == "positions") ref.index = static_cast<int32_t>(i);
    }
  });
  refused("block_table", [](Manifest& m) {
    for (auto& input : m.programs[0].inputs) {
      if (input.name == "block_table") input.type.dims.pop_back();
    }
    std::erase_if(m.programs[0].records, [](const LaunchRecord& r) {
      return r.op == OpKind::kPagedAttention || r.op == OpKind::kQkvRopeAppend;
    });
  });
}

class HostileExperts : public HostileEngine {
  std::string model() const override { return "mixtral"; }
};

TEST_F(HostileExperts, TheSoundOneRuns) {
  const Status status = use_changed(sound_->manifest());
  EXPECT_TRUE(status.ok()) << status.error().message;
}

TEST_F(HostileExperts, OnlyARouterChooses) {
  constexpr std::string_view kWhy = "the chosen experts are not those of a moe_route";
  const auto add_slot = [](Manifest& m, uint64_t bytes) {
    engine::Program& program = m.programs[0];
    program.arena.push_back({program.arena_bytes, bytes});
    program.arena_bytes += bytes;
    return static_cast<int32_t>(program.arena.size()) - 1;
  };
  refused(kWhy, [&](Manifest& m) {  // memory that nobody writes
    engine::TensorRef& ids = record(m, OpKind::kMoe).inputs[3];
    ids.index = add_slot(m, m.programs[0].arena[static_cast<size_t>(ids.index)].bytes);
  });
  refused(kWhy, [&](Manifest& m) {  // the product's own workspace lies over them
    LaunchRecord& moe = record(m, OpKind::kMoe);
    engine::Program& program = m.programs[0];
    program.arena[static_cast<size_t>(moe.workspace)].offset =
        program.arena[static_cast<size_t>(moe.inputs[3].index)].offset;
    program.arena_bytes *= 2;
  });
  refused(kWhy, [&](Manifest& m) {  // the weights' slot lies over the ids': written after them
    LaunchRecord& route = record(m, OpKind::kMoeRoute);
    std::vector<engine::ArenaSlot>& arena = m.programs[0].arena;
    arena[static_cast<size_t>(route.outputs[1].index)].offset =
        arena[static_cast<size_t>(route.outputs[0].index)].offset;
  });
}

// Anything that is refused is fine, and so is a run of nonsense; a crash is not.
TEST_F(HostileEngine, RandomChangesNeverCrash) {
  std::mt19937 random(20240607);
  const auto pick = [&](auto& list) -> auto& { return list[random() % list.size()]; };
  const auto change_type = [&](TensorType& type) {
    if (type.dims.empty() || random() % 4 == 0) {
      type.dtype = static_cast<DType>(random() % 5);
      return;
    }
    Dim& dim = pick(type.dims);
    constexpr int64_t kOffsets[] = {-1, 0, 1, 2, 16, 64, 4096};
    switch (random() % 3) {
      case 0: dim = Dim(kOffsets[random() % std::size(kOffsets)]); break;
      case 1: dim.offset += static_cast<int64_t>(random() % 5) - 2; break;
      default: dim.symbol = static_cast<int>(random() % 4) - 1;
    }
  };
  std::vector<std::function<void(Manifest&)>> changes = {
      [&](Manifest& m) { change_type(pick(pick(m.programs[0].records).outputs).type); },
      [&](Manifest& m) { change_type(pick(pick(m.programs[0].records).inputs).type); },
      [&](Manifest& m) { change_type(pick(m.programs[0].inputs).type); },
      [&](Manifest& m) { change_type(pick(m.weights).type); },
      [&](Manifest& m) { pick(m.weights).layout = pick(m.weights).layout; },
      [&](Manifest& m) {
        pick(pick(m.programs[0].records).choices).tactic =
            pick(pick(m.programs[0].records).choices).tactic;
      },
      [&](Manifest& m) { pick(m.programs[0].records).op = pick(m.programs[0].records).op; },
      [&](Manifest& m) { pick(m.programs[0].records).attrs = pick(m.programs[0].records).attrs; },
      [&](Manifest& m) {  // another digit
        std::string& text = pick(m.programs[0].records).attrs;
        std::vector<size_t> digits;
        for (size_t i = 0; i < text.size(); ++i) {
          if (text[i] >= '0' && text[i] <= '9') digits.push_back(i);
        }
        if (!digits.empty()) text[pick(digits)] = static_cast<char>('0' + random() % 10);
      },
      [&](Manifest& m) {
        auto& inputs = pick(m.programs[0].records).inputs;
        std::swap(pick(inputs), pick(inputs));
      },
      [&](Manifest& m) { pick(pick(m.programs[0].records).inputs).index = random() % 8; },
      [&](Manifest& m) {
        auto& ref = pick(pick(m.programs[0].records).outputs);
        ref.space = static_cast<Space>(random() % 4);
      },
      [&](Manifest& m) { pick(m.programs[0].arena).bytes /= 2; },
      [&](Manifest& m) { pick(m.programs[0].arena).offset = 0; },
      [&](Manifest& m) { pick(m.programs[0].records).workspace = static_cast<int>(random() % 4); },
      [&](Manifest& m) {
        Symbol& symbol = pick(m.programs[0].symbols);
        symbol.max = random() % 2 == 0 ? symbol.max * 2 : (symbol.max + 1) / 2;
        symbol.opt = std::min(symbol.opt, symbol.max);
      },
      [&](Manifest& m) { std::swap(pick(m.programs[0].records), pick(m.programs[0].records)); },
      [&](Manifest& m) { m.limits.block_tokens = static_cast<int>(random() % 40); },
      [&](Manifest& m) { m.model.max_seq_len *= 7; },
      [&](Manifest& m) { m.model.vocab_size += 100; },
      [&](Manifest& m) { m.kv_groups[0].num_layers += static_cast<int64_t>(random() % 3) - 1; },
      [&](Manifest& m) { m.kv_groups[0].dtype = static_cast<DType>(random() % 5); },
      [&](Manifest& m) { std::swap(pick(m.programs[0].inputs), pick(m.programs[0].inputs)); },
  };
  int ran = 0;
  constexpr int kRounds = 600;
  for (int round = 0; round < kRounds; ++round) {
    Manifest manifest = sound_->manifest();
    for (uint32_t n = 1 + random() % 2; n > 0; --n) pick(changes)(manifest);
    ran += use_changed(manifest).ok() ? 1 : 0;
  }
  // Some changes are harmless, most are not.
  EXPECT_GT(ran, kRounds / 100);
  EXPECT_LT(ran, kRounds * 9 / 10);
}

}  // namespace
}  // namespace ramjet::e2e

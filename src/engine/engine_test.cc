#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>

#include "engine/engine_file.h"
#include "engine/engine_fuzz.h"
#include "op/fields.h"

namespace ramjet::engine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string fresh_folder(const std::string& name) {
  const std::string path = testing::TempDir() + "/engine_" + name;
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

/// x[tokens, 64] -> relu(x w) -> y, with everything a manifest can say said once.
Manifest sample_manifest() {
  const TensorType x{DType::kF32, {Dim::of(0), 64}};
  const TensorType hidden{DType::kF32, {Dim::of(0), 4, 8}};
  const TensorType flat{DType::kF32, {Dim::of(0), 32}};
  Manifest m;
  m.model = {"tiny", "network", 2048, 384, 1, 256, {2, 0}, 1};
  m.limits = {4, 32, 16};
  m.dtype = "f32";
  m.quantize = "none";
  m.kv_groups = {{2, 1, 64, 64, 0, DType::kBf16}};
  m.weights = {{"w", {DType::kF32, {32, 64}}, "row_major", 0, 8192, 0},
               {"dummy", {DType::kBf16, {32, 32}}, "cpu.n16k2.v1", 0, 4096, 7}};
  Program p;
  p.name = "main";
  p.symbols = {{"tokens", 1, 8, 32}};
  p.inputs = {{"x", x}};
  p.outputs = {{"y", flat}};
  p.arena = {{0, 4096}, {4096, 64}};
  p.arena_bytes = 4160;
  LaunchRecord matmul;
  matmul.op = OpKind::kMatmul;
  matmul.name = "fc";
  matmul.fused = {"fc", "relu"};
  matmul.attrs = attrs_text(default_attrs(OpKind::kMatmul));
  matmul.inputs = {{Space::kInput, 0, x}, {Space::kWeight, 0, {DType::kF32, {32, 64}}}};
  matmul.outputs = {{Space::kArena, 0, hidden}};
  matmul.workspace = 1;
  matmul.choices = {{8, "a.v1", 1.5, {{"a.v1", 1.5}, {"b.v1", 2}}}, {32, "b.v1", 0, {}}};
  LaunchRecord relu;
  relu.op = OpKind::kPointwise;
  relu.name = "relu";
  relu.attrs = attrs_text(PointwiseDesc{PointwiseProgram::single(PointwiseOp::kRelu)});
  relu.inputs = {{Space::kArena, 0, flat}};
  relu.outputs = {{Space::kOutput, 0, hidden}};
  relu.choices = {{32, "ref.pointwise.v1", 0, {}}};
  p.records = {matmul, relu};
  m.programs = {p};
  m.facts = {{"note", "a \"fact\""}};
  m.provenance = {"0.1.0", "cpu-scalar", "", "00ff", "dtype=f32", {{"fuse", 0.5}}, 1.25};
  return m;
}

/// The sample with its matmul on a GPU: two launches, of one kernel.
Manifest sample_gpu_manifest() {
  Manifest m = sample_manifest();
  m.provenance.target = "sm_90a";
  m.kernels = {{"gemm", 0, 100}, {"relu", 128, 8}};
  m.flags_bytes = 512;
  DeviceLaunch launch;
  launch.module = 1;
  launch.entry = "gemm_sm90";
  launch.grid = {LaunchExtent::ceil(Dim::of(0), 16, 3, 132), 2, 1};
  launch.block = 384;
  launch.cluster = 2;
  launch.shared_bytes = 200 << 10;
  launch.when = LaunchWhen::kAnyMany;
  launch.args = {LaunchArg::input(1, 64),    LaunchArg::output(0), LaunchArg::workspace(16),
                 LaunchArg::flags(),         LaunchArg::symbol(0), LaunchArg::kv_layer(0, 1),
                 LaunchArg::kv_num_blocks(), LaunchArg::int32(-7), LaunchArg::float32(0.5f),
                 LaunchArg::tensor_map(0)};
  launch.maps = {{LaunchArg::input(0), DType::kF32, {64, Dim::of(0)}, {256}, {32, 8}, 128}};
  DeviceLaunch second = launch;
  second.module = 0;
  second.programmatic = false;
  m.programs[0].records[0].choices[1].launches = {launch, second};
  return m;
}

DeviceLaunch& gpu_launch(Manifest& m) { return m.programs[0].records[0].choices[1].launches[0]; }

std::string write_sample(const std::string& path, bool weights = true) {
  auto writer = EngineWriter::create(path);
  EXPECT_TRUE(writer.ok());
  EXPECT_TRUE(writer->add_section("asset/tokenizer", "{\"model\": 1}").ok());
  Manifest manifest = sample_manifest();
  if (weights) {
    EXPECT_TRUE(writer->begin_weights().ok());
    EXPECT_EQ(*writer->append_weight(std::vector<std::byte>(100, std::byte{1})), 0u);
    EXPECT_EQ(*writer->append_weight(std::vector<std::byte>(8192, std::byte{2})), 128u);
    EXPECT_TRUE(writer->end_weights().ok());
    manifest.weights[0].offset = 128;
  } else {
    manifest.weights[0].seed = 3;
  }
  auto bytes = writer->finish(manifest);
  EXPECT_TRUE(bytes.ok()) << (bytes.ok() ? "" : bytes.error().message);
  EXPECT_EQ(*bytes, fs::file_size(path));
  return path;
}

TEST(Manifest, ARecordChoosesByItsSymbol) {
  LaunchRecord record;
  record.choices = {{4, "a", 0, {}, {}}, {16, "b", 0, {}, {}}};
  const std::vector<int64_t> symbols = {2, 5};
  EXPECT_EQ(record.choice_at(symbols), 0u);
  record.symbol = 1;
  EXPECT_EQ(record.choice_at(symbols), 1u);
  EXPECT_EQ(record.choice_at({}), 0u);
  EXPECT_EQ(record.choice_at(std::vector<int64_t>{0, 99}), 1u) << "beyond: the last";
  Manifest manifest = sample_manifest();
  manifest.programs[0].symbols.push_back({"rows", 0, 1, 2});
  manifest.programs[0].records[0].symbol = 1;
  const Result<Manifest> decoded = decode_manifest(encode_manifest(manifest));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->programs, manifest.programs);
}

TEST(Manifest, DecodeInvertsEncode) {
  const Manifest manifest = sample_manifest();
  const std::string bytes = encode_manifest(manifest);
  const Result<Manifest> decoded = decode_manifest(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(encode_manifest(*decoded), bytes);
  EXPECT_EQ(decoded->programs, manifest.programs);
  EXPECT_EQ(decoded->weights, manifest.weights);
  EXPECT_EQ(decoded->kv_groups, manifest.kv_groups);
  EXPECT_EQ(decoded->facts, manifest.facts);
  EXPECT_EQ(decoded->model.eos_ids, manifest.model.eos_ids);
  EXPECT_EQ(decoded->model.bos_id, 1);
  EXPECT_EQ(decoded->provenance.passes[0].ms, 0.5);
  EXPECT_EQ(decoded->provenance.options, "dtype=f32");
}

TEST(Manifest, KeepsLaunches) {
  const Manifest manifest = sample_gpu_manifest();
  const std::string bytes = encode_manifest(manifest);
  const Result<Manifest> decoded = decode_manifest(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(decoded->programs, manifest.programs);
  EXPECT_EQ(decoded->kernels, manifest.kernels);
  EXPECT_EQ(decoded->flags_bytes, 512u);
  EXPECT_EQ(encode_manifest(*decoded), bytes);
}

struct BadLaunch {
  const char* expected;
  void (*change)(Manifest&);
};
// clang-format off: a table
const BadLaunch kBadLaunches[] = {
    {"kernel 2 of 2", [](Manifest& m) { gpu_launch(m).module = 2; }},
    {"without an entry", [](Manifest& m) { gpu_launch(m).entry.clear(); }},
    {"2048 threads", [](Manifest& m) { gpu_launch(m).block = 2048; }},
    {"clusters of 17", [](Manifest& m) { gpu_launch(m).cluster = 17; }},
    {"1048576 bytes of shared", [](Manifest& m) { gpu_launch(m).shared_bytes = 1 << 20; }},
    {"a grid of", [](Manifest& m) { gpu_launch(m).grid[0].divide = 0; }},
    {"a grid of", [](Manifest& m) { gpu_launch(m).grid[0].dim = Dim::of(1); }},
    {"operand 2", [](Manifest& m) { gpu_launch(m).args[0].index = 2; }},
    {"value -1", [](Manifest& m) { gpu_launch(m).args[0].value = -1; }},
    {"operand 1", [](Manifest& m) { gpu_launch(m).args[1].index = 1; }},
    {"value 65", [](Manifest& m) { gpu_launch(m).args[2].value = 65; }},
    {"kind 3", [](Manifest& m) { m.programs[0].records[0].workspace = -1; }},
    {"value 513", [](Manifest& m) { gpu_launch(m).args[3].value = 513; }},
    {"operand 1", [](Manifest& m) { gpu_launch(m).args[4].index = 1; }},
    {"value 2", [](Manifest& m) { gpu_launch(m).args[5].value = 2; }},
    {"kind 0", [](Manifest& m) { gpu_launch(m).args[7].kind = LaunchArgKind::kNone; }},
    {"unknown argument", [](Manifest& m) { gpu_launch(m).args[7].kind = LaunchArgKind{99}; }},
    {"unknown condition", [](Manifest& m) { gpu_launch(m).when = LaunchWhen{9}; }},
    {"operand 1", [](Manifest& m) { gpu_launch(m).args[9].index = 1; }},
    {"a tensor map of", [](Manifest& m) { gpu_launch(m).maps[0].box[0] = 257; }},
    {"a tensor map of", [](Manifest& m) { gpu_launch(m).maps[0].strides.push_back(1); }},
    {"a tensor map of", [](Manifest& m) { gpu_launch(m).maps[0].swizzle_bytes = 7; }},
    {"kind 8", [](Manifest& m) { gpu_launch(m).maps[0].base = LaunchArg::int32(0); }},
    {"kernel 'gemm'", [](Manifest& m) { m.kernels[0].offset = 1; }},
    {"kernel 'relu'", [](Manifest& m) { m.kernels[1].bytes = 0; }},
};
// clang-format on

TEST(Manifest, HostileLaunchesAreRefused) {
  for (const BadLaunch& bad : kBadLaunches) {
    Manifest manifest = sample_gpu_manifest();
    bad.change(manifest);
    const Result<Manifest> decoded = decode_manifest(encode_manifest(manifest));
    ASSERT_FALSE(decoded.ok()) << bad.expected;
    EXPECT_NE(decoded.error().message.find(bad.expected), std::string::npos)
        << decoded.error().message;
  }
}

TEST(EngineFile, KernelsLieInTheirSection) {
  const std::string path = fresh_folder("kernels") + "/k.engine";
  const auto write = [&](const std::string& code) {
    auto writer = EngineWriter::create(path);
    EXPECT_TRUE(writer.ok());
    EXPECT_TRUE(writer->add_section("kernels", code).ok());
    Manifest manifest = sample_gpu_manifest();
    manifest.weights[0].seed = 3;
    EXPECT_TRUE(writer->finish(manifest).ok());
  };
  write(std::string(128, 'a') + "relucode");
  const auto file = EngineFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->kernel(0), std::string(100, 'a'));
  EXPECT_EQ(file->kernel(1), "relucode");
  write(std::string(128, 'a') + "cut");
  const auto cut = EngineFile::open(path);
  ASSERT_FALSE(cut.ok());
  EXPECT_NE(cut.error().message.find("'relu' wants 8 bytes at 128"), std::string::npos)
      << cut.error().message;
}

TEST(Manifest, DecodesAtAnyAddress) {
  const std::string bytes = encode_manifest(sample_manifest());
  for (size_t shift = 0; shift < 16; ++shift) {
    const std::string moved = std::string(shift, 'x') + bytes;
    EXPECT_TRUE(decode_manifest(std::string_view(moved).substr(shift)).ok());
  }
}

// clang-format off: a table
struct BadManifest {
  const char* expected;
  void (*change)(Manifest&);
};
const BadManifest kBadManifests[] = {
    {"step 'fc': arena slot 9", [](Manifest& m) { m.programs[0].records[0].outputs[0].index = 9; }},
    {"memory space", [](Manifest& m) { m.programs[0].records[0].inputs[0].space = Space{9}; }},
    {"another size than 'x'",
     [](Manifest& m) { m.programs[0].records[0].inputs[0].type.dims[1] = 65; }},
    {"another size than 'y'",
     [](Manifest& m) { m.programs[0].records[1].outputs[0].type.dims[1] = 5; }},
    {"in slot 0 of", [](Manifest& m) { m.programs[0].arena[0].bytes = 4032; }},
    {"the arena has 4000", [](Manifest& m) { m.programs[0].arena_bytes = 4000; }},
    {"arena slot at 32", [](Manifest& m) { m.programs[0].arena[0].offset = 32; }},
    {"symbol 3 of 1",
     [](Manifest& m) { m.programs[0].records[0].inputs[0].type.dims[0].symbol = 3; }},
    {"factor -1", [](Manifest& m) { m.programs[0].inputs[0].type.dims[0].factor = -1; }},
    {"profile 9/8/32", [](Manifest& m) { m.programs[0].symbols[0].min = 9; }},
    {"tactics by symbol 3", [](Manifest& m) { m.programs[0].records[0].symbol = 3; }},
    {"tactics by symbol -1", [](Manifest& m) { m.programs[0].records[0].symbol = -1; }},
    {"more than",
     [](Manifest& m) {
       m.programs[0].inputs[0].type.dims = {1 << 30, 1 << 30, 1 << 30};
     }},
    {"extent", [](Manifest& m) { m.programs[0].inputs[0].type.dims[1] = -3; }},
    {"writes a program input",
     [](Manifest& m) { m.programs[0].records[0].outputs = m.programs[0].records[0].inputs; }},
    {"workspace in slot 2", [](Manifest& m) { m.programs[0].records[0].workspace = 2; }},
    {"no tactic", [](Manifest& m) { m.programs[0].records[0].choices.clear(); }},
    {"do not ascend", [](Manifest& m) { m.programs[0].records[0].choices[1].upto = 8; }},
    {"the profile goes to 32", [](Manifest& m) { m.programs[0].records[0].choices[1].upto = 31; }},
    {"attributes", [](Manifest& m) { m.programs[0].records[0].attrs = "nonsense=1"; }},
    {"two programs named 'main'", [](Manifest& m) { m.programs.push_back(m.programs[0]); }},
    {"two weights named 'w'", [](Manifest& m) { m.weights[1].name = "w"; }},
    {"weight 'w': 8100 bytes stored", [](Manifest& m) { m.weights[0].bytes = 8100; }},
    {"weight 'w': 8192 bytes at 8", [](Manifest& m) { m.weights[0].offset = 8; }},
    {"KV group", [](Manifest& m) { m.kv_groups[0].num_layers = 0; }},
    {"KV group",
     [](Manifest& m) { m.kv_groups[0] = {1 << 20, 1 << 20, 1 << 20, 1, 0, DType::kBf16}; }},
    {"extent", [](Manifest& m) { m.programs[0].inputs[0].type.dims[1].offset = INT64_MIN; }},
    {"eos id -1", [](Manifest& m) { m.model.eos_ids = {-1}; }},
    {"tp 0", [](Manifest& m) { m.tp = 0; }},
    {"KV layer 2 of 2",
     [](Manifest& m) {
       LaunchRecord& r = m.programs[0].records[1];
       AttentionDesc desc;
       desc.num_heads = desc.num_kv_heads = 1;
       desc.head_dim = desc.v_head_dim = 64;
       desc.kv_layer = 2;
       r.op = OpKind::kPagedAttention;
       r.attrs = attrs_text(desc);
     }},
};

// clang-format on
TEST(Manifest, EveryRuleHasItsError) {
  for (const BadManifest& bad : kBadManifests) {
    Manifest manifest = sample_manifest();
    bad.change(manifest);
    const Result<Manifest> decoded = decode_manifest(encode_manifest(manifest));
    ASSERT_FALSE(decoded.ok()) << bad.expected;
    EXPECT_EQ(decoded.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(decoded.error().message, HasSubstr(bad.expected));
    EXPECT_THAT(decoded.error().message, HasSubstr("manifest"));
  }
}

TEST(Manifest, MutatedBytesNeverCrash) {
  const std::string bytes = encode_manifest(sample_manifest());
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string mutated = bytes;
    for (uint32_t flips = 1 + random() % 4; flips > 0; --flips) {
      mutated[random() % mutated.size()] = static_cast<char>(random());
    }
    if (random() % 8 == 0) mutated.resize(random() % mutated.size());
    if (const auto manifest = decode_manifest(mutated); manifest.ok()) check_manifest(*manifest);
  }
}

TEST(EngineFile, RoundTrip) {
  const std::string path = write_sample(fresh_folder("round_trip") + "/a.engine");
  EXPECT_TRUE(EngineFile::is_engine(path));
  EXPECT_FALSE(EngineFile::is_engine("CMakeLists.txt"));
  auto file = EngineFile::open(path, EngineFile::Verify::kChecksums);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->asset("tokenizer"), "{\"model\": 1}");
  EXPECT_EQ(file->asset("chat_template"), "");
  const auto weight = file->weight(0);
  ASSERT_EQ(weight.size(), 8192u);
  EXPECT_EQ(weight[0], std::byte{2});
  EXPECT_EQ(weight[8191], std::byte{2});
  EXPECT_TRUE(file->weight(1).empty());
  ASSERT_EQ(file->sections().size(), 3u);
  EXPECT_EQ(file->sections()[1].name, "weights");
  EXPECT_EQ(file->sections()[1].offset, 2u << 20);
  EXPECT_EQ(file->manifest().programs, sample_manifest().programs);
}

void flip(const std::string& path, uint64_t offset, uint8_t mask) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const char byte = static_cast<char>(file.get());
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ static_cast<char>(mask)));
}

TEST(EngineFile, EveryFlippedByteIsAnError) {
  const std::string path = write_sample(fresh_folder("flips") + "/a.engine");
  std::vector<SectionInfo> sections;
  const uint64_t size = fs::file_size(path);
  {
    auto file = EngineFile::open(path);
    sections.assign(file->sections().begin(), file->sections().end());
  }
  std::mt19937 random(2);
  const auto expect_error = [&](uint64_t offset, EngineFile::Verify verify) {
    const auto mask = static_cast<uint8_t>(1u << random() % 8);
    flip(path, offset, mask);
    const auto file = EngineFile::open(path, verify);
    EXPECT_FALSE(file.ok()) << "byte " << offset;
    if (!file.ok()) EXPECT_THAT(file.error().message, HasSubstr(path));
    flip(path, offset, mask);
  };
  for (uint64_t i = 0; i < 64; ++i) expect_error(i, EngineFile::Verify::kStructure);
  const uint64_t tail = sections.back().offset;  // manifest and table
  for (uint64_t i = tail; i < tail + sections.back().bytes; ++i) {
    expect_error(i, EngineFile::Verify::kStructure);
  }
  for (uint64_t i = size - 3 * sizeof(TableEntry); i < size; ++i) {
    expect_error(i, EngineFile::Verify::kStructure);
  }
  for (int i = 0; i < 200; ++i) expect_error(random() % size, EngineFile::Verify::kChecksums);
  EXPECT_TRUE(EngineFile::open(path, EngineFile::Verify::kChecksums).ok());
}

TEST(EngineFile, EveryTruncationIsAnError) {
  const std::string path = write_sample(fresh_folder("truncated") + "/a.engine", false);
  for (uint64_t size = fs::file_size(path); size-- > 0;) {
    fs::resize_file(path, size);
    const auto file = EngineFile::open(path);
    ASSERT_FALSE(file.ok()) << size;
    EXPECT_EQ(file.error().code, ErrorCode::kCorrupt);
  }
}

TEST(EngineFile, ChecksumsNameTheSection) {
  const std::string path = write_sample(fresh_folder("checksum") + "/a.engine");
  flip(path, 64, 1);
  EXPECT_THAT(EngineFile::open(path).error().message, HasSubstr("section 'asset/tokenizer'"));
  flip(path, 64, 1);
  flip(path, (2u << 20) + 200, 1);
  EXPECT_TRUE(EngineFile::open(path).ok());
  EXPECT_THAT(EngineFile::open(path, EngineFile::Verify::kChecksums).error().message,
              HasSubstr("section 'weights': checksum"));
}

TEST(EngineFile, AnotherVersionNamesTheRebuild) {
  const std::string path = write_sample(fresh_folder("version") + "/a.engine", false);
  flip(path, 12, 3);  // 1 -> 2
  const auto file = EngineFile::open(path);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(file.error().message, HasSubstr("engine format 2"));
  EXPECT_THAT(file.error().message, HasSubstr("ramjet build MODEL -o " + path));
}

TEST(EngineFile, WeightsBeyondTheirSectionAreNamed) {
  const std::string path = fresh_folder("short") + "/a.engine";
  auto writer = EngineWriter::create(path);
  ASSERT_TRUE(writer->begin_weights().ok());
  ASSERT_TRUE(writer->append_weight(std::vector<std::byte>(100)).ok());
  ASSERT_TRUE(writer->end_weights().ok());
  ASSERT_TRUE(writer->finish(sample_manifest()).ok());
  EXPECT_THAT(EngineFile::open(path).error().message, HasSubstr("'w' wants 8192 bytes"));
}

TEST(EngineWriter, MisuseIsAnErrorAndLeavesNothing) {
  const std::string folder = fresh_folder("misuse");
  {
    auto writer = EngineWriter::create(folder + "/a.engine");
    EXPECT_FALSE(writer->add_section("Bad Name", "x").ok());
    EXPECT_TRUE(writer->add_section("a", "x").ok());
    EXPECT_FALSE(writer->add_section("a", "x").ok());
    EXPECT_FALSE(writer->append_weight({}).ok());
    Manifest bad = sample_manifest();
    bad.tp = 0;
    EXPECT_EQ(writer->finish(bad).error().code, ErrorCode::kInternal);
  }
  EXPECT_TRUE(fs::is_empty(folder));
  EXPECT_EQ(EngineWriter::create(folder + "/none/a.engine").error().code, ErrorCode::kNotFound);
}

TEST(EngineWriter, FullDiskIsExhaustionAndLeavesNothing) {
  const std::string folder = fresh_folder("full");
  rlimit saved;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &saved), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{(2u << 20) + 4096, saved.rlim_max};  // a disk that fills up in the weights
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    auto writer = EngineWriter::create(folder + "/a.engine");
    Status status = writer->begin_weights();
    while (status.ok()) {
      const auto offset = writer->append_weight(std::vector<std::byte>(1000));
      if (!offset.ok()) status = offset.error();
    }
    EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted) << status.error().message;
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &saved), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST(EngineFuzz, CorpusReplays) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator("tests/fuzz/engine")) {
    fuzz_engine(*read_file(entry.path().string()));
    ++files;
  }
  EXPECT_GE(files, 3);
  // A hand-made file with sound checksums must get through all of it.
  std::string bytes = *read_file(write_sample(fresh_folder("corpus") + "/a.engine", false));
  std::string repaired = bytes;
  repair_checksums(repaired);
  EXPECT_EQ(repaired, bytes);
  fuzz_engine("\x01" + bytes);
}

}  // namespace
}  // namespace ramjet::engine

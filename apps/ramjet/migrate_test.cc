// Other servers' command lines, translated; and that the page about it leaves no flag out.
#include "migrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace ramjet {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> words(const std::string& line) {
  std::istringstream in(line);
  return {std::istream_iterator<std::string>(in), {}};
}

bool own(std::string_view flag) {
  return flag == "--port" || flag == "--dtype" || flag == "--ssl-keyfile";
}

Translation migrant(const std::string& program, const std::string& line) {
  Result<Translation> result = translate_migrant(program, words(line), own);
  EXPECT_TRUE(result.ok()) << result.error().message;
  return result.ok() ? *result : Translation{};
}

std::string refusal(const std::string& program, const std::string& line) {
  const Result<Translation> result = translate_migrant(program, words(line), own);
  EXPECT_FALSE(result.ok()) << line;
  return result.ok() ? "" : result.error().message;
}

Translation serve(const std::string& line) {
  Result<Translation> result = translate_serve(words(line), own);
  EXPECT_TRUE(result.ok()) << result.error().message;
  return result.ok() ? *result : Translation{};
}

TEST(Migrate, KnowsTheProgramByItsName) {
  EXPECT_EQ(migrant_program("/opt/bin/trtllm-serve"), "trtllm-serve");
  EXPECT_EQ(migrant_program("trtllm-bench"), "trtllm-bench");
  EXPECT_EQ(migrant_program("build/ramjet"), "");
  EXPECT_EQ(migrant_program("./trtllm-serve-old"), "");
}

TEST(Migrate, TrtllmServe) {
  const Translation got = migrant(
      "trtllm-serve",
      "serve my/model --host 0.0.0.0 --port=9000 --max_batch_size 64 --max_num_tokens 4096 "
      "--max_seq_len 8192 --tp_size 1 --kv_cache_free_gpu_memory_fraction 0.8 --backend pytorch "
      "--trust_remote_code --gemm_plugin auto --ep_size 1 --frobnicate 3");
  EXPECT_THAT(got.arguments,
              ElementsAre("serve", "my/model", "--host", "0.0.0.0", "--port", "9000",
                          "--max-batch-size", "64", "--max-num-tokens", "4096", "--max-seq-len",
                          "8192", "--tp", "1", "--kv-fraction", "0.8"));
  EXPECT_THAT(got.notes, ElementsAre(HasSubstr("--backend: not needed"),
                                     HasSubstr("--trust_remote_code: not needed"),
                                     HasSubstr("--gemm_plugin: not needed: kernels"),
                                     "--frobnicate 3: not known, left out"));
  EXPECT_THAT(migrant("trtllm-serve", "--port 1 m").arguments,
              ElementsAre("serve", "m", "--port", "1"));
}

TEST(Migrate, InputAndOutputLengthsShareOneLimit) {
  EXPECT_THAT(migrant("trtllm-serve", "m --max_input_len 1024 --max_output_len 512").arguments,
              ElementsAre("serve", "m", "--max-seq-len", "1536"));
  const Translation one = migrant("trtllm-serve", "m --max_input_len 1024");
  EXPECT_THAT(one.arguments, ElementsAre("serve", "m"));
  EXPECT_THAT(one.notes, ElementsAre(HasSubstr("share --max_seq_len")));
  const Translation said =
      migrant("trtllm-serve", "m --max_input_len 9 --max_output_len 9 --max_seq_len 100");
  EXPECT_THAT(said.arguments, ElementsAre("serve", "m", "--max-seq-len", "100"));
}

TEST(Migrate, TrtllmBuild) {
  const Translation got = migrant(
      "trtllm-build",
      "--checkpoint_dir ./ckpt --output_dir out --gemm_plugin bfloat16 --gpt_attention_plugin auto "
      "--max_batch_size 8 --max_input_len 100 --max_output_len 28 --remove_input_padding enable "
      "--paged_kv_cache enable --dtype float16 --fast_build");
  EXPECT_THAT(got.arguments,
              ElementsAre("build", "-o", "out/rank0.engine", "./ckpt", "--max-batch-size", "8",
                          "--dtype", "bf16", "--no-tune", "--max-seq-len", "128"));
  EXPECT_EQ(got.notes.size(), 5u);
  EXPECT_THAT(migrant("trtllm-build", "--checkpoint_dir c").arguments,
              ElementsAre("build", "-o", "engine_outputs/rank0.engine", "c"));
}

TEST(Migrate, TrtllmBench) {
  EXPECT_THAT(migrant("trtllm-bench",
                      "--model org/m --model_path /ckpt throughput --target_input_len 128 "
                      "--target_output_len 64 --num_requests 500 --report_json r.json")
                  .arguments,
              ElementsAre("bench", "throughput", "/ckpt", "--isl", "128", "--osl", "64",
                          "--requests", "500", "--output", "r.json"));
  EXPECT_THAT(migrant("trtllm-bench", "-m m latency --engine_dir e").arguments,
              ElementsAre("bench", "latency", "e/rank0.engine"));
  EXPECT_THAT(migrant("trtllm-bench", "-m m build --quantization FP8").arguments,
              ElementsAre("build", "-o", "engine_outputs/rank0.engine", "m", "--quantize", "fp8"));
  EXPECT_THAT(refusal("trtllm-bench", "--model m throughput --dataset d.txt"),
              HasSubstr("--target_input_len"));
  EXPECT_THAT(refusal("trtllm-bench", "--model m"), HasSubstr("throughput, latency"));
}

TEST(Migrate, VllmServe) {
  const Translation got = serve(
      "org/m --tensor-parallel-size 1 --gpu-memory-utilization 0.85 --max-model-len 32k "
      "--max-num-seqs=128 --dtype half --quantization fp8 --served-model-name a b "
      "--enable-prefix-caching --kv-cache-dtype fp8_e4m3 --threads 4 --port 8001 "
      "--no-enable-log-requests");
  EXPECT_THAT(got.arguments,
              ElementsAre("serve", "org/m", "--tp", "1", "--kv-fraction", "0.85", "--max-seq-len",
                          "32000", "--max-batch-size", "128", "--dtype", "bf16", "--quantize",
                          "fp8", "--served-model-name", "a", "b", "--kv-dtype", "fp8", "--threads",
                          "4", "--port", "8001", "--no-request-log"));
  EXPECT_THAT(got.notes,
              ElementsAre(HasSubstr("memory free after loading"), HasSubstr("half runs as bf16"),
                          HasSubstr("--enable-prefix-caching: not needed")));
  EXPECT_THAT(migrant("vllm", "serve m -tp 1").arguments, ElementsAre("serve", "m", "--tp", "1"));
}

TEST(Migrate, OwnFlagsPassUnchanged) {
  const std::string own =
      "serve models/demo --host 127.0.0.1 --port 0 --kv-memory 64MiB --no-prefix-caching "
      "--batch-invariant --dummy-weights --api-key k --ssl-keyfile f --bogus 1 -h";
  const Translation got = serve(own.substr(6));
  EXPECT_EQ(got.arguments, words(own));
  EXPECT_THAT(got.notes, IsEmpty());
}

TEST(Migrate, WhatIsNotThereIsRefusedByName) {
  EXPECT_THAT(refusal("trtllm-serve", "m --max_beam_width 4"), HasSubstr("--max_beam_width 4"));
  EXPECT_THAT(refusal("trtllm-serve", "disaggregated -c f"), HasSubstr("disaggregated"));
  EXPECT_THAT(refusal("trtllm-build", "--checkpoint_dir c --weight_streaming"),
              HasSubstr("--weight_streaming: not supported"));
  EXPECT_THAT(refusal("vllm", "serve m --kv-cache-dtype fp8_e5m2"),
              AllOf(HasSubstr("--kv-cache-dtype"), HasSubstr("fp8_e5m2")));
  EXPECT_THAT(refusal("vllm", "serve m --quantization awq"), HasSubstr("awq"));
  EXPECT_THAT(refusal("vllm", "serve m --max-model-len lots"), HasSubstr("'lots'"));
  EXPECT_THAT(refusal("vllm", "serve m --data-parallel-size 8"), HasSubstr("one GPU"));
  EXPECT_THAT(refusal("vllm", "bench"), HasSubstr("vllm serve"));
}

TEST(Migrate, ThePageNamesEveryFlag) {
  std::ifstream file("docs/migrating.md");
  if (!file) GTEST_SKIP() << "docs/migrating.md is not below this folder";
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  for (const std::string_view flag : migrant_flags()) {
    std::string dashed(flag);
    for (char& c : dashed) c = c == '_' ? '-' : c;
    const bool there = page.find("--" + std::string(flag)) != std::string::npos ||
                       page.find("--" + dashed) != std::string::npos;
    EXPECT_TRUE(there) << flag;
  }
}

}  // namespace
}  // namespace ramjet

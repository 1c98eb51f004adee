#include <ramjet/engine.h>
#include <ramjet/version.h>
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/env.h"
#include "base/json.h"
#include "commands.h"
#include "doctor_gpu.h"
#include "machine.h"
#include "output.h"

namespace ramjet {
namespace {

namespace fs = std::filesystem;

/// First line of a file of /proc or /sys; empty if there is none.
std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

int usable_cores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
}

OrderedJson caches_json() {
  OrderedJson caches = OrderedJson::array();
  for (int i = 0; i < 8; ++i) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}", i);
    const std::string level = first_line(folder + "/level");
    if (level.empty()) break;
    caches.push_back({{"level", level},
                      {"type", first_line(folder + "/type")},
                      {"size", first_line(folder + "/size")},
                      {"shared_by", first_line(folder + "/shared_cpu_list")}});
  }
  return caches;
}

OrderedJson cpu_json() {
  const std::string flags = " " + proc_field("/proc/cpuinfo", "flags") + " ";
  OrderedJson isa = OrderedJson::array();
  for (const char* name : {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
                           "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"}) {
    if (flags.find(fmt::format(" {} ", name)) != std::string::npos) isa.push_back(name);
  }
  int nodes = 0;
  while (fs::exists(fmt::format("/sys/devices/system/node/node{}", nodes))) ++nodes;
  return {{"model", proc_field("/proc/cpuinfo", "model name")},
          {"cores", ::sysconf(_SC_NPROCESSORS_ONLN)},
          {"usable", usable_cores()},
          {"numa_nodes", nodes},
          {"isa", isa},
          {"target", host_target()},
          {"caches", caches_json()}};
}

/// Bytes of a "24683656 kB" field of /proc/meminfo.
uint64_t meminfo_bytes(std::string_view key) {
  return std::strtoull(proc_field("/proc/meminfo", key).c_str(), nullptr, 10) * 1024;
}

OrderedJson memory_json() {
  OrderedJson memory = {
      {"total_bytes", meminfo_bytes("MemTotal")},
      {"available_bytes", meminfo_bytes("MemAvailable")},
      {"transparent_hugepages", first_line("/sys/kernel/mm/transparent_hugepage/enabled")}};
  // Both generations of control groups; "max" and huge numbers mean no limit.
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const uint64_t limit = std::strtoull(first_line(path).c_str(), nullptr, 10);
    if (limit > 0 && limit < meminfo_bytes("MemTotal")) memory["cgroup_limit_bytes"] = limit;
  }
  return memory;
}

OrderedJson cache_json() {
  const std::string folder = cache_directory();
  fs::path existing = folder;
  std::error_code error;
  while (!fs::exists(existing, error) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  const fs::space_info space = fs::space(existing, error);
  const bool writable = ::access(existing.c_str(), W_OK) == 0;
  OrderedJson cache = {{"path", folder}, {"writable", writable}};
  if (!error) cache["free_bytes"] = space.available;
  return cache;
}

OrderedJson environment_json() {
  OrderedJson out = OrderedJson::array();
  for (const EnvVariable& variable : env_registry()) {
    const auto value = env(variable.name);
    out.push_back({{"name", variable.name},
                   {"value", value ? OrderedJson(*value) : OrderedJson()},
                   {"meaning", variable.meaning}});
  }
  return out;
}

/// What is missing here, and what that means.
OrderedJson advice(const OrderedJson& report) {
  OrderedJson lacks = OrderedJson::array();
  if (report["gpus"].empty()) {
    const bool driver = report["libraries"][0]["found"].get<bool>();
    lacks.push_back(driver ? "no GPU answers: see nvidia-smi; the CPU serves"
                           : "no NVIDIA driver (libcuda.so.1): the CPU serves");
  }
  for (const OrderedJson& library : report["libraries"]) {
    if (library["found"].get<bool>() || report["gpus"].empty()) continue;
    lacks.push_back(fmt::format("{}: needed for {}", library["name"].get<std::string>(),
                                library["purpose"].get<std::string>()));
  }
  const std::string target = report["cpu"]["target"];
  if (target != "cpu-amx") {
    lacks.push_back(
        fmt::format("AMX: the CPU path is {}; bf16 prefill is several times faster "
                    "with AMX",
                    target));
  }
  if (!report["cache"]["writable"].get<bool>()) {
    lacks.push_back("the cache folder cannot be written; set RAMJET_CACHE");
  }
  return lacks;
}

std::string list_text(const OrderedJson& list) {
  std::string out;
  for (const OrderedJson& item : list) out += (out.empty() ? "" : " ") + item.get<std::string>();
  return out;
}

std::string text_of(const OrderedJson& report) {
  const auto text = [](const OrderedJson& value) { return value.get<std::string>(); };
  const OrderedJson& cpu = report["cpu"];
  std::string out =
      fmt::format("ramjet {}\ncpu      {}, {} of {} cores usable\n         {}: {}\n",
                  text(report["version"]), text(cpu["model"]), cpu["usable"].get<int>(),
                  cpu["cores"].get<int>(), text(cpu["target"]), list_text(cpu["isa"]));
  for (const OrderedJson& cache : cpu["caches"]) {
    out += fmt::format("         L{} {} {}\n", text(cache["level"]), text(cache["type"]),
                       text(cache["size"]));
  }
  out += fmt::format("memory   {:.1f} GiB, {:.1f} available\n",
                     report["memory"]["total_bytes"].get<double>() / (1 << 30),
                     report["memory"]["available_bytes"].get<double>() / (1 << 30));
  for (const OrderedJson& gpu : report["gpus"]) {
    out += fmt::format("gpu {}    {}, {}, {:.1f} GiB\n", gpu["index"].get<int>(), text(gpu["name"]),
                       text(gpu["arch"]), gpu["memory_bytes"].get<double>() / (1 << 30));
  }
  for (const OrderedJson& library : report["libraries"]) {
    out += fmt::format("library  {:<12} {}\n", text(library["name"]),
                       library["found"].get<bool>()
                           ? text(library["version"]) + " " + text(library["path"])
                           : "not found");
  }
  out += fmt::format("cache    {}{}\n", text(report["cache"]["path"]),
                     report["cache"]["writable"].get<bool>() ? "" : " (not writable)");
  for (const OrderedJson& variable : report["environment"]) {
    if (!variable["value"].is_null()) {
      out += fmt::format("env      {}={}\n", text(variable["name"]), text(variable["value"]));
    }
  }
  for (const OrderedJson& lack : report["lacks"]) out += fmt::format("lacks    {}\n", text(lack));
  return out;
}

int doctor(bool json) {
  OrderedJson report = {{"version", RAMJET_VERSION},        {"cpu", cpu_json()},
                        {"memory", memory_json()},          {"gpus", probe_gpus()},
                        {"libraries", probe_libraries()},   {"cache", cache_json()},
                        {"environment", environment_json()}};
  report["lacks"] = advice(report);
  if (json) {
    print_json(report);
  } else {
    print_text(text_of(report));
  }
  return 0;
}

}  // namespace

void add_doctor_command(CLI::App& app, CommandRunner& runner) {
  CLI::App* command = app.add_subcommand("doctor", "say what this machine has and lacks");
  auto json = std::make_shared<bool>(false);  // shared with the callback below
  command->add_flag("--json", *json, "one JSON object");
  command->callback([&runner, json] { runner.run = [json] { return doctor(*json); }; });
}

}  // namespace ramjet

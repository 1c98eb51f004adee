// OpLab: runs a tactic of a GPU target on the device and compares it with the reference op.
//
// Outputs, workspace and what lies beyond the step's rows are poisoned. Leading extents that equal
// a given symbol's value become that symbol, so that kernels read their sizes from the device.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/cuda/handles.h"
#include "kernels/device_launch.h"
#include "kernels/kernel_test_util.h"
#include "lab.h"

namespace ramjet::lab {

namespace cu = device::cuda;

struct SymbolValue {
  std::string name;
  int64_t value = 0;
  int64_t max = 0;  // at least value
};

class OpLab {
 public:
  /// Without a GPU kernels are compiled alone.
  OpLab() {
    auto device = cu::CudaDevice::open(0);
    if (!device.ok()) {
      std::printf("no GPU (%s): kernels are compiled alone\n", device.error().message.c_str());
      info_.major = 9, info_.multiprocessors = 132;
      return;
    }
    device_ = std::move(device).value();
    stream_ = take(cu::Stream::create());
    info_ = device_->info();
  }

  const cu::DeviceInfo& info() const { return info_; }
  const cu::Stream& stream() const { return stream_; }

  /// "" if the tactic agrees with the reference, else the first difference. `us`, if given, gets
  /// the mean time of `runs` launches; `want`, if given, is what the reference made of the case.
  std::string compare(const kernels::OpCase& original, const kernels::Tactic& tactic,
                      const std::vector<SymbolValue>& symbols, kernels::Tolerance tolerance,
                      double* us = nullptr, int runs = 20, const kernels::OpCase* want = nullptr) {
    kernels::OpCase got = original;
    Prepared p = prepare(got, symbols);
    if (!tactic.supports(p.desc)) return "not supported";
    kernels::DevicePlan plan = plan_of(tactic, p.desc);
    if (device_ == nullptr) return compile(plan);
    Memory memory = upload(got, tactic, plan);
    auto made = kernels::DeviceOp::create(std::move(plan), info().arch());
    if (!made.ok()) return made.error().message;
    kernels::DeviceOp op = std::move(made).value();
    if (Status s = op.bind(memory.operands(most_)); !s.ok()) return s.error().message;
    check(op.launch(values_, {}, stream_));
    if (Status s = stream_.synchronize(); !s.ok()) return s.error().message;
    if (const std::string text = download(got, memory); !text.empty()) return text;
    const std::string text = want != nullptr
                                 ? kernels::difference(*want, got, tolerance)
                                 : kernels::difference(original.run_reference(), got, tolerance);
    if (us != nullptr) *us = time(op, runs);
    return text;
  }

  /// Mean time of `runs` launches with the operands as they are; nothing if it is not supported.
  std::optional<double> measure(const kernels::OpCase& original, const kernels::Tactic& tactic,
                                const std::vector<SymbolValue>& symbols, int runs = 20) {
    if (tactic.op != original.op) return std::nullopt;
    kernels::OpCase c = original;
    Prepared p = prepare(c, symbols);
    if (!tactic.supports(p.desc) || device_ == nullptr) return std::nullopt;
    kernels::DevicePlan plan = plan_of(tactic, p.desc);
    const Memory memory = upload(c, tactic, plan);
    kernels::DeviceOp op = take(kernels::DeviceOp::create(std::move(plan), info().arch()));
    check(op.bind(memory.operands(most_)));
    return time(op, runs);
  }

  /// What compare() will compile; nothing if it is not supported.
  std::vector<kernels::DeviceModule> modules(const kernels::OpCase& original,
                                             const kernels::Tactic& tactic,
                                             const std::vector<SymbolValue>& symbols) {
    if (tactic.op != original.op) return {};
    kernels::OpCase c = original;
    Prepared p = prepare(c, symbols);
    return tactic.supports(p.desc) ? plan_of(tactic, p.desc).modules
                                   : std::vector<kernels::DeviceModule>();
  }

  /// Symbols stand for every extent that equals their value, not only the first of an operand.
  void symbols_anywhere() { first_axis_only_ = false; }

 private:
  struct Memory {
    std::vector<cu::DeviceBuffer> inputs, outputs, kv;
    cu::DeviceBuffer workspace, flags, symbols;
    std::vector<uint64_t> in, out;
    std::vector<kernels::DeviceKv> groups;
    kernels::LaunchOperands operands(std::span<const int64_t> most) const {
      return {in, out, workspace.get(), flags.get(), symbols.get(), most, groups};
    }
  };

  /// What a tactic is told of a case: types with symbols for their values.
  struct Prepared {
    std::vector<Symbol> profile;
    std::vector<TensorType> inputs, outputs;
    kernels::OpDesc desc;
  };
  Prepared prepare(kernels::OpCase& c, const std::vector<SymbolValue>& symbols) {
    Prepared p;
    values_.clear(), most_.clear();
    for (const SymbolValue& s : symbols) {
      p.profile.push_back({s.name, 1, s.value, s.max});
      values_.push_back(s.value), most_.push_back(s.max);
    }
    p.desc = c.desc();
    p.inputs = symbolic(p.desc.inputs, symbols);
    p.outputs = symbolic(p.desc.outputs, symbols);
    p.desc.inputs = p.inputs, p.desc.outputs = p.outputs, p.desc.symbols = p.profile;
    return p;  // vectors keep their memory when moved
  }
  static std::string compile(const kernels::DevicePlan& plan) {
    for (const kernels::DeviceModule& module : plan.modules) {
      const auto compiled = kernels::compile_device_module(module, "sm_90a");
      if (!compiled.ok()) return compiled.error().message;
    }
    return "";
  }
  kernels::DevicePlan plan_of(const kernels::Tactic& tactic, const kernels::OpDesc& desc) const {
    kernels::DevicePlan plan;
    kernels::DeviceFacts facts;
    facts.sm = info().major * 10 + info().minor;
    facts.multiprocessors = info().multiprocessors;
    facts.l2_bytes = info().l2_bytes;
    tactic.plan(desc, tactic, facts, plan);
    return plan;
  }

  std::vector<TensorType> symbolic(std::span<const TensorType> types,
                                   const std::vector<SymbolValue>& symbols) const {
    std::vector<TensorType> result(types.begin(), types.end());
    for (TensorType& type : result) {
      const bool plus_one = type.rank() == 1 && type.dtype == DType::kI32;
      for (size_t axis = 0; axis < type.dims.size(); ++axis) {
        if (axis > 0 && first_axis_only_) break;
        Dim& dim = type.dims[axis];
        if (!first_axis_only_ && dim == Dim(1) && (axis > 0 || type.rank() == 1)) continue;
        for (size_t i = 0; i < symbols.size() && dim.fixed(); ++i) {
          const int64_t extent = dim.offset;
          if (extent == symbols[i].value) {
            dim = Dim::of(static_cast<int>(i));
          } else if (plus_one && extent == symbols[i].value + 1) {
            dim = Dim::of(static_cast<int>(i), 1, 1);
          }
        }
      }
    }
    return result;
  }

  cu::DeviceBuffer buffer(std::span<const std::byte> from, size_t bytes) {
    auto made = take(cu::DeviceBuffer::allocate(std::max<size_t>(bytes, 256)));
    check(made.fill(0xff, stream_));
    if (!from.empty()) check(made.upload(from, 0, stream_));
    return made;
  }

  Memory upload(kernels::OpCase& c, const kernels::Tactic& tactic,
                const kernels::DevicePlan& plan) {
    Memory m;
    int64_t slack = 1;  // rows up to the largest value of a symbol
    for (size_t i = 0; i < values_.size(); ++i) {
      slack = std::max(slack, (most_[i] + values_[i]) / std::max<int64_t>(values_[i], 1) + 1);
    }
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      std::vector<std::byte> packed;
      std::span<const std::byte> bytes = c.inputs[i].bytes;
      bytes = bytes.first(static_cast<size_t>(c.inputs[i].view.bytes()));
      if (kernels::layout_of(tactic, i) != "row_major") {
        const auto* layout = kernels::find_layout(kernels::layout_of(tactic, i));
        const TensorView& b = c.inputs[i].view;
        const int64_t rows = b.shape.rows(), cols = b.shape.back();
        packed.resize(static_cast<size_t>(layout->packed_bytes(rows, cols, b.dtype)));
        layout->pack(bytes, rows, cols, b.dtype, packed);
        bytes = packed;
      }
      m.inputs.push_back(buffer(bytes, bytes.size() * static_cast<size_t>(slack)));
      check(stream_.synchronize());
      m.in.push_back(m.inputs.back().get());
    }
    for (const auto& tensor : c.outputs) {
      const auto bytes = static_cast<size_t>(tensor.view.bytes() * slack);
      m.outputs.push_back(buffer({}, bytes));
      m.out.push_back(m.outputs.back().get());
    }
    for (const kernels::TestKv& kv : c.kv) {
      m.kv.push_back(buffer(kv.bytes, kv.bytes.size()));
      m.groups.push_back({m.kv.back().get(), kv.view.num_blocks, kv.view.layer_stride});
    }
    m.workspace = buffer({}, static_cast<size_t>(plan.workspace_bytes));
    m.flags = buffer({}, static_cast<size_t>(plan.flags_bytes));
    check(m.flags.fill(0, stream_));
    std::vector<int32_t> numbers(values_.begin(), values_.end());
    numbers.push_back(0);
    m.symbols = buffer(std::as_bytes(std::span(numbers)), numbers.size() * 4);
    check(stream_.synchronize());
    return m;
  }

  /// "" or what was written beyond the results.
  std::string download(kernels::OpCase& c, const Memory& m) {
    std::string beyond;
    for (size_t i = 0; i < c.outputs.size(); ++i) {
      const auto bytes = static_cast<size_t>(c.outputs[i].view.bytes());
      std::vector<std::byte> all(m.outputs[i].bytes());
      check(m.outputs[i].download(all, 0, stream_));
      check(stream_.synchronize());
      std::copy_n(all.begin(), bytes, c.outputs[i].bytes.begin());
      const auto untouched = [](std::byte b) { return b == std::byte{0xff}; };
      if (!std::all_of(all.begin() + static_cast<ptrdiff_t>(bytes), all.end(), untouched)) {
        beyond = "output " + std::to_string(i) + " was written beyond its end";
      }
    }
    for (size_t i = 0; i < c.kv.size(); ++i) {
      check(m.kv[i].download(c.kv[i].bytes, 0, stream_));
    }
    check(stream_.synchronize());
    return beyond;
  }

  double time(kernels::DeviceOp& op, int runs) {
    const auto start = take(cu::Event::create(true)), end = take(cu::Event::create(true));
    check(cu::GraphExec::begin_capture(stream_));
    for (int i = 0; i < runs; ++i) check(op.launch(values_, {}, stream_));
    const auto graph = take(cu::GraphExec::end_capture(stream_));
    check(graph.launch(stream_));
    check(start.record(stream_));
    check(graph.launch(stream_));
    check(end.record(stream_));
    check(end.synchronize());
    return 1e3 * static_cast<double>(take(end.elapsed_ms_since(start))) / runs;
  }

  std::unique_ptr<cu::CudaDevice> device_;
  cu::DeviceInfo info_;
  cu::Stream stream_;
  std::vector<int64_t> values_, most_;
  bool first_axis_only_ = true;
};

}  // namespace ramjet::lab

#include "text/tokenizer/limits.h"

#include <algorithm>
#include <string>

#include "base/json.h"

namespace ramjet::text {
namespace {

constexpr int64_t kMaxLength = 1 << 24;

Result<size_t> length_of(const Json& json, const char* what) {
  const auto length = json.get<int64_t>();
  if (length < 0) return invalid_argument("{} {} is negative", what, length);
  return static_cast<size_t>(length);
}

bool is_left(const Json& json) { return json.value("direction", std::string("Right")) == "Left"; }

}  // namespace

Result<Limits> Limits::from_json(const Json& json) {
  Limits out;
  if (const auto it = json.find("truncation"); it != json.end() && !it->is_null()) {
    Truncation truncation{};
    ASSIGN_OR_RETURN(truncation.max_length,
                     length_of(it->at("max_length"), "truncation.max_length"));
    const auto strategy = it->value("strategy", std::string("LongestFirst"));
    if (strategy != "LongestFirst" && strategy != "OnlyFirst" && strategy != "OnlySecond") {
      return invalid_argument(
          "truncation.strategy '{}' is unknown: LongestFirst, OnlyFirst or OnlySecond",
          strategy.substr(0, 40));
    }
    truncation.strategy = strategy == "OnlyFirst"    ? Strategy::kOnlyFirst
                          : strategy == "OnlySecond" ? Strategy::kOnlySecond
                                                     : Strategy::kLongestFirst;
    truncation.left = is_left(*it);
    out.truncation_ = truncation;
  }
  if (const auto it = json.find("padding"); it != json.end() && !it->is_null()) {
    Padding padding{};
    const auto strategy = it->find("strategy");
    if (strategy != it->end() && strategy->is_object() && strategy->contains("Fixed")) {
      ASSIGN_OR_RETURN(padding.length, length_of(strategy->at("Fixed"), "padding.strategy.Fixed"));
    }
    if (const auto m = it->find("pad_to_multiple_of"); m != it->end() && !m->is_null()) {
      ASSIGN_OR_RETURN(padding.multiple, length_of(*m, "padding.pad_to_multiple_of"));
    }
    if (std::max(padding.length, padding.multiple) > kMaxLength) {
      return invalid_argument("padding to {} ids, the limit is {}",
                              std::max(padding.length, padding.multiple), kMaxLength);
    }
    padding.id = it->value("pad_id", 0);
    padding.type_id = it->value("pad_type_id", 0);
    padding.left = is_left(*it);
    out.padding_ = padding;
  }
  return out;
}

void Limits::cut(std::vector<int32_t>& ids, size_t length) const {
  if (length >= ids.size()) return;
  const auto surplus = static_cast<ptrdiff_t>(ids.size() - length);
  truncation_->left ? ids.erase(ids.begin(), ids.begin() + surplus)
                    : ids.erase(ids.end() - surplus, ids.end());
}

Status Limits::truncate(std::vector<Segment>& texts, size_t added) const {
  if (!truncation_) return ok_status();
  const size_t limit = truncation_->max_length - std::min(truncation_->max_length, added);
  size_t total = 0;
  for (const Segment& text : texts) total += text.ids.size();
  if (total <= limit) return ok_status();
  if (limit == 0) {
    for (Segment& text : texts) text.ids.clear();
    return ok_status();
  }
  const size_t surplus = total - limit;
  if (truncation_->strategy != Strategy::kLongestFirst) {
    const size_t which = truncation_->strategy == Strategy::kOnlyFirst ? 0 : 1;
    if (which >= texts.size() || texts[which].ids.size() <= surplus) {
      return invalid_argument(
          "truncation to {} ids may only cut text {} of the pair, which is too short or absent",
          truncation_->max_length, which + 1);
    }
    cut(texts[which].ids, texts[which].ids.size() - surplus);
    return ok_status();
  }
  if (texts.size() == 1) return cut(texts[0].ids, limit), ok_status();
  // The longer one is cut down to the shorter, then both alike.
  const bool swapped = texts[0].ids.size() > texts[1].ids.size();
  size_t shorter = std::min(texts[0].ids.size(), texts[1].ids.size());
  size_t longer = shorter > limit ? shorter : std::max(shorter, limit - shorter);
  if (shorter + longer > limit) {
    shorter = limit / 2;
    longer = shorter + limit % 2;
  }
  cut(texts[0].ids, swapped ? longer : shorter);
  cut(texts[1].ids, swapped ? shorter : longer);
  return ok_status();
}

void Limits::pad(Segment& segment) const {
  if (!padding_) return;
  size_t length = std::max(padding_->length, segment.ids.size());
  if (padding_->length > 0) length = padding_->length;
  if (padding_->multiple > 0 && length % padding_->multiple > 0) {
    length += padding_->multiple - length % padding_->multiple;
  }
  if (length <= segment.ids.size()) return;
  const size_t count = length - segment.ids.size();
  const auto fill = [&](std::vector<int32_t>& list, int32_t value) {
    list.insert(padding_->left ? list.begin() : list.end(), count, value);
  };
  fill(segment.ids, padding_->id);
  fill(segment.type_ids, padding_->type_id);
}

}  // namespace ramjet::text

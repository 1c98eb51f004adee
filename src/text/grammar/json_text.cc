#include "text/grammar/json_text.h"

#include <algorithm>
#include <vector>

#include "base/json.h"
#include "text/grammar/dfa.h"
#include "text/grammar/number_set.h"

namespace ramjet::text {
namespace {

OrderedJson sorted(const OrderedJson& json) {
  if (json.is_array()) {
    OrderedJson out = OrderedJson::array();
    for (const OrderedJson& item : json) out.push_back(sorted(item));
    return out;
  }
  if (json.is_object()) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : json.items()) keys.push_back(key);
    std::sort(keys.begin(), keys.end());
    OrderedJson out = OrderedJson::object();
    for (const std::string& key : keys) out[key] = sorted(json[key]);
    return out;
  }
  if (json.is_number()) {
    const auto d = Decimal::parse(json.dump());
    if (!d) return json;
    // No JSON value that a text spells looks like this.
    return OrderedJson::array({"number", d->negative, d->digits, d->exponent});
  }
  return OrderedJson::array({"other", json});
}

}  // namespace

std::string canonical_json(std::string_view text) {
  auto json = parse_ordered_json(text);
  return json.ok() ? dump_json(Json(sorted(*json))) : std::string();
}

std::string quoted_json(const std::u32string& key) {
  std::string utf8;
  for (const char32_t c : key) put_utf8(utf8, c);
  return dump_json(Json(utf8));
}

std::u32string to_code_points_lenient(std::string_view text) {
  std::u32string out;
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  size_t run = 0;
  for (size_t i = 0; i + 2 < text.size(); ++i) {
    if (byte(i) != 0xed || byte(i + 1) < 0xa0) continue;
    out += to_code_points(text.substr(run, i - run));
    out.push_back(0xd000u | (byte(i + 1) & 0x3fu) << 6 | (byte(i + 2) & 0x3fu));
    run = i + 3, i += 2;
  }
  return out + to_code_points(text.substr(run));
}

}  // namespace ramjet::text

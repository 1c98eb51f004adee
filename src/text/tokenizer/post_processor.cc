#include "text/tokenizer/post_processor.h"

#include <string>

#include "base/json.h"

namespace ramjet::text {
namespace {
constexpr size_t kMaxTemplateIds = 4096;
}

Result<PostProcessor> PostProcessor::from_json(const Json& json) {
  PostProcessor out;
  if (!json.is_null()) RETURN_IF_ERROR(out.parse(json, 0));
  return out;
}

Status PostProcessor::parse(const Json& json, int depth) {
  if (depth > 16) return invalid_argument("post-processors nest deeper than 16 levels");
  const auto type = json.at("type").get<std::string>();
  if (type == "ByteLevel") return ok_status();  // only moves offsets
  if (type == "Sequence") {
    for (const Json& part : json.at("processors")) RETURN_IF_ERROR(parse(part, depth + 1));
    if (templates_.size() > 1) return unsupported("several post-processors that add tokens");
    return ok_status();
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    templates_.push_back(
        {json.at("cls").at(1).get<int32_t>(), kSequence, json.at("sep").at(1).get<int32_t>()});
    return ok_status();
  }
  if (type == "TemplateProcessing") {
    ASSIGN_OR_RETURN(Template parsed, parse_template(json));
    templates_.push_back(std::move(parsed));
    return ok_status();
  }
  return unsupported("post-processor '{}' is not supported", type.substr(0, 40));
}

Result<PostProcessor::Template> PostProcessor::parse_template(const Json& json) {
  Template out;
  for (const Json& piece : json.at("single")) {
    if (piece.contains("Sequence")) {
      if (piece.at("Sequence").at("id").get<std::string>() != "A") {
        return invalid_argument("the single template of TemplateProcessing uses sequence B");
      }
      out.push_back(kSequence);
      continue;
    }
    const auto name = piece.at("SpecialToken").at("id").get<std::string>();
    const Json& tokens = json.at("special_tokens");
    if (!tokens.contains(name)) {
      return invalid_argument("TemplateProcessing uses special token '{}' but does not define it",
                              name.substr(0, 80));
    }
    for (const Json& id : tokens.at(name).at("ids")) {
      if (id.get<int64_t>() < 0 || out.size() >= kMaxTemplateIds) {
        return invalid_argument("TemplateProcessing: bad ids of '{}'", name.substr(0, 80));
      }
      out.push_back(id.get<int32_t>());
    }
  }
  return out;
}

std::vector<int32_t> PostProcessor::process(std::vector<int32_t> ids) const {
  if (templates_.empty()) return ids;
  std::vector<int32_t> out;
  out.reserve(ids.size() + templates_[0].size());
  for (const int32_t id : templates_[0]) {
    if (id == kSequence) {
      out.insert(out.end(), ids.begin(), ids.end());
    } else {
      out.push_back(id);
    }
  }
  return out;
}

}  // namespace ramjet::text

#include "text/tokenizer/post_processor.h"

#include <string>

#include "base/json.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxTemplateIds = 4096;
constexpr size_t kMaxTemplatePieces = 256;
constexpr size_t kMaxSteps = 16;

void append(std::vector<int32_t>& out, const std::vector<int32_t>& more) {
  out.insert(out.end(), more.begin(), more.end());
}

}  // namespace

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
    return ok_status();
  }
  if (steps_.size() >= kMaxSteps) {
    return invalid_argument("more than {} post-processors", kMaxSteps);
  }
  Step step;
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    step.kind = type == "BertProcessing" ? Kind::kBert : Kind::kRoberta;
    step.begin = json.at("cls").at(1).get<int32_t>();
    step.end = json.at("sep").at(1).get<int32_t>();
  } else if (type == "TemplateProcessing") {
    ASSIGN_OR_RETURN(step.single, parse_template(json, "single"));
    ASSIGN_OR_RETURN(step.pair, parse_template(json, "pair"));
  } else {
    return unsupported(
        "post-processor '{}' is not one that `tokenizers` 0.23 has: see docs/tokenizers.md",
        type.substr(0, 40));
  }
  steps_.push_back(std::move(step));
  return ok_status();
}

Result<PostProcessor::Template> PostProcessor::parse_template(const Json& json, const char* key) {
  Template out;
  size_t count = 0;
  if (!json.contains(key)) return out;
  for (const Json& item : json.at(key)) {
    Piece piece;
    if (out.size() >= kMaxTemplatePieces) {
      return invalid_argument("TemplateProcessing: '{}' has more than {} pieces", key,
                              kMaxTemplatePieces);
    }
    if (item.contains("Sequence")) {
      const Json& sequence = item.at("Sequence");
      piece.text = sequence.at("id").get<std::string>() == "B" ? 1 : 0;
      piece.type_id = sequence.value("type_id", 0);
      if (piece.text == 1 && std::string_view(key) == "single") {
        return invalid_argument("the single template of TemplateProcessing uses sequence B");
      }
      out.push_back(std::move(piece));
      continue;
    }
    const Json& special = item.at("SpecialToken");
    const auto name = special.at("id").get<std::string>();
    piece.type_id = special.value("type_id", 0);
    const Json& tokens = json.at("special_tokens");
    if (!tokens.contains(name)) {
      return invalid_argument("TemplateProcessing uses special token '{}' but does not define it",
                              name.substr(0, 80));
    }
    for (const Json& id : tokens.at(name).at("ids")) {
      if (id.get<int64_t>() < 0 || count++ >= kMaxTemplateIds) {
        return invalid_argument("TemplateProcessing: bad ids of '{}'", name.substr(0, 80));
      }
      piece.ids.push_back(id.get<int32_t>());
    }
    out.push_back(std::move(piece));
  }
  return out;
}

Status PostProcessor::apply_template(const Step& step, bool add_special,
                                     std::vector<Segment>& texts) {
  if (texts.empty() || texts.size() > 2) {
    return unsupported("a TemplateProcessing after a post-processor that leaves {} parts",
                       texts.size());
  }
  std::vector<Segment> out;
  for (const Piece& piece : texts.size() == 2 ? step.pair : step.single) {
    if (piece.text == kSpecial && !add_special) continue;
    Segment part;
    part.ids = piece.text == kSpecial ? piece.ids : texts[static_cast<size_t>(piece.text)].ids;
    part.type_ids.assign(part.ids.size(), piece.type_id);
    out.push_back(std::move(part));
  }
  texts = std::move(out);
  return ok_status();
}

void PostProcessor::apply_bert(const Step& step, bool add_special, std::vector<Segment>& texts) {
  for (size_t i = 0; i < texts.size(); ++i) {
    const bool roberta = step.kind == Kind::kRoberta;
    std::vector<int32_t>& ids = texts[i].ids;
    std::vector<int32_t>& types = texts[i].type_ids;
    if (add_special) {
      if (i == 0) ids.insert(ids.begin(), step.begin), types.insert(types.begin(), 0);
      if (i > 0 && roberta) ids.insert(ids.begin(), step.end);
      ids.push_back(step.end);
      types.push_back(i == 0 ? 0 : 1);
    }
    if (roberta) types.assign(ids.size(), 0);
  }
}

Result<Segment> PostProcessor::process(std::vector<Segment> texts, bool add_special) const {
  for (size_t i = 0; i < texts.size(); ++i) {
    texts[i].type_ids.assign(texts[i].ids.size(), static_cast<int32_t>(i));
  }
  for (const Step& step : steps_) {
    if (step.kind == Kind::kTemplate) {
      RETURN_IF_ERROR(apply_template(step, add_special, texts));
    } else {
      apply_bert(step, add_special, texts);
    }
  }
  Segment out;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (i == 0) {
      out = std::move(texts[i]);
      continue;
    }
    append(out.ids, texts[i].ids);
    append(out.type_ids, texts[i].type_ids);
  }
  return out;
}

Result<std::vector<int32_t>> PostProcessor::process(std::vector<int32_t> ids,
                                                    bool add_special) const {
  if (steps_.empty()) return ids;
  std::vector<Segment> texts(1);
  texts[0].ids = std::move(ids);
  ASSIGN_OR_RETURN(Segment out, process(std::move(texts), add_special));
  return std::move(out.ids);
}

size_t PostProcessor::added(bool pair) const {
  size_t count = 0;
  for (const Step& step : steps_) {
    if (step.kind == Kind::kBert) count += pair ? 3 : 2;
    if (step.kind == Kind::kRoberta) count += pair ? 4 : 2;
    for (const Piece& piece : pair ? step.pair : step.single) count += piece.ids.size();
  }
  return count;
}

}  // namespace ramjet::text

#include "checkpoint/hf_assets.h"

#include <algorithm>
#include <array>

#include "base/file.h"
#include "base/json.h"

namespace ramjet::checkpoint {
namespace {

constexpr size_t kMaxTextBytes = size_t{256} << 20;

using Assets = std::map<std::string, std::string>;

/// The JSON object in a file; an empty object if there is no such file.
Result<Json> read_object(const std::string& path) {
  if (!path_exists(path)) return Json::object();
  ASSIGN_OR_RETURN(Json json, read_json_file(path));
  if (!json.is_object()) return invalid_argument("{}: not a JSON object", path);
  return json;
}

/// One template, or a list of {"name", "template"} of which "default" (or else the first) is the
/// one without a name.
Status add_template(const Json& json, const std::string& path, Assets& assets) {
  if (json.is_null()) return ok_status();
  if (json.is_string()) {
    assets["chat_template"] = json.get<std::string>();
    return ok_status();
  }
  if (!json.is_array()) {
    return invalid_argument("{}: chat_template is neither a string nor a list", path);
  }
  for (const Json& item : json) {
    const bool named = item.is_object() && item.contains("name") && item["name"].is_string() &&
                       item.contains("template") && item["template"].is_string();
    if (!named) return invalid_argument("{}: a chat_template without name or template", path);
    const std::string name = item["name"].get<std::string>();
    const std::string source = item["template"].get<std::string>();
    if (name == "default" || !assets.contains("chat_template")) assets["chat_template"] = source;
    if (name != "default" && is_template_name(name)) assets["chat_template." + name] = source;
  }
  return ok_status();
}

/// Later sources win: tokenizer_config.json, chat_template.json, chat_template.jinja.
Status read_templates(const std::string& folder, const Json& tokenizer_config, Assets& assets) {
  const auto add_from = [&](const Json& json, const std::string& name) {
    const auto it = json.find("chat_template");
    return it == json.end() ? ok_status() : add_template(*it, folder + "/" + name, assets);
  };
  RETURN_IF_ERROR(add_from(tokenizer_config, "tokenizer_config.json"));
  ASSIGN_OR_RETURN(const Json file, read_object(folder + "/chat_template.json"));
  RETURN_IF_ERROR(add_from(file, "chat_template.json"));
  const std::string jinja = folder + "/chat_template.jinja";
  if (!path_exists(jinja)) return ok_status();
  ASSIGN_OR_RETURN(assets["chat_template"], read_file(jinja, kMaxTextBytes));
  return ok_status();
}

/// A token is a string or an object with "content".
std::string token_text(const Json& json) {
  if (json.is_string()) return json.get<std::string>();
  if (json.is_object() && json.contains("content") && json["content"].is_string()) {
    return json["content"].get<std::string>();
  }
  return "";
}

Status read_special_tokens(const std::string& folder, const Json& tokenizer_config,
                           Assets& assets) {
  ASSIGN_OR_RETURN(const Json map, read_object(folder + "/special_tokens_map.json"));
  Json out = Json::object();
  for (const char* key : {"bos_token", "eos_token", "pad_token", "unk_token"}) {
    for (const Json* source : {&tokenizer_config, &map}) {
      if (out.contains(key) || !source->contains(key)) continue;
      if (const std::string text = token_text((*source)[key]); !text.empty()) out[key] = text;
    }
  }
  for (const char* key : {"add_bos_token", "add_eos_token"}) {
    const auto it = tokenizer_config.find(key);
    if (it != tokenizer_config.end() && it->is_boolean()) out[key] = *it;
  }
  if (!out.empty()) assets["special_tokens"] = dump_json(out);
  return ok_status();
}

}  // namespace

bool is_template_name(std::string_view name) {
  return !name.empty() && name.size() <= 32 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

Result<Assets> read_assets(const std::string& folder) {
  Assets assets;
  if (const std::string path = folder + "/tokenizer.json"; path_exists(path)) {
    ASSIGN_OR_RETURN(assets["tokenizer"], read_file(path, kMaxTextBytes));
  }
  if (const std::string path = folder + "/generation_config.json"; path_exists(path)) {
    RETURN_IF_ERROR(read_object(path));
    ASSIGN_OR_RETURN(assets["generation_config"], read_file(path, kMaxTextBytes));
  }
  ASSIGN_OR_RETURN(const Json config, read_object(folder + "/tokenizer_config.json"));
  RETURN_IF_ERROR(read_templates(folder, config, assets));
  RETURN_IF_ERROR(read_special_tokens(folder, config, assets));
  return assets;
}

}  // namespace ramjet::checkpoint

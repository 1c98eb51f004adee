// The text files of a Hugging Face folder, as the assets that an engine carries. Stateless.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ramjet::checkpoint {

/// Reads what is there of tokenizer.json ("tokenizer"), the chat template ("chat_template", and
/// "chat_template.NAME" for further named ones), generation_config.json ("generation_config") and
/// the special tokens ("special_tokens": JSON of bos_token, eos_token, pad_token, unk_token and of
/// add_bos_token, add_eos_token where the folder says so). Errors name the file.
Result<std::map<std::string, std::string>> read_assets(const std::string& folder);

/// Whether NAME of a "chat_template.NAME" may become part of a section's name: short, of lower-case
/// letters, digits, '_' and '-'.
bool is_template_name(std::string_view name);

}  // namespace ramjet::checkpoint

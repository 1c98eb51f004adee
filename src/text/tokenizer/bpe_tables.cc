// The binary form of a BPE model's vocabulary and merges: docs/formats/tokenizer.md.
#include <algorithm>
#include <array>
#include <cstring>

#include "text/tokenizer/bpe.h"
#include "text/tokenizer/utf8.h"

namespace ramjet::text {
namespace {

constexpr uint32_t kMaxMerges = 1 << 24;

void put(std::string& out, uint32_t value) {
  char bytes[4];
  std::memcpy(bytes, &value, 4);
  out.append(bytes, 4);
}

class TableReader {
 public:
  explicit TableReader(std::string_view bytes) : bytes_(bytes) {}
  size_t left() const { return bytes_.size(); }

  Result<std::string_view> take(size_t size) {
    if (size > bytes_.size()) {
      return corrupt("tokenizer tables: {} bytes wanted, {} are left", size, bytes_.size());
    }
    const std::string_view out = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return out;
  }
  Result<uint32_t> number() {
    ASSIGN_OR_RETURN(const std::string_view bytes, take(4));
    uint32_t out;
    std::memcpy(&out, bytes.data(), 4);
    return out;
  }

 private:
  std::string_view bytes_;
};

Result<Vocabulary> read_vocabulary(TableReader& reader) {
  ASSIGN_OR_RETURN(const uint32_t count, reader.number());
  if (count > reader.left() / 8) return corrupt("tokenizer tables: {} tokens do not fit", count);
  Vocabulary vocabulary(count);
  for (uint32_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const uint32_t id, reader.number());
    ASSIGN_OR_RETURN(const uint32_t size, reader.number());
    ASSIGN_OR_RETURN(const std::string_view token, reader.take(size));
    if (!is_valid_utf8(token)) return corrupt("tokenizer tables: token {} is not UTF-8", id);
    RETURN_IF_ERROR(vocabulary.add(token, id));
  }
  return vocabulary;
}

}  // namespace

bool BpeModel::save_tables(std::string& out) const {
  uint32_t count = 0;
  for (int32_t id = 0; id < vocabulary_.end_id(); ++id) count += vocabulary_.contains(id);
  if (count != vocabulary_.size()) return false;
  put(out, count);
  for (int32_t id = 0; id < vocabulary_.end_id(); ++id) {
    if (!vocabulary_.contains(id)) continue;
    const std::string_view token = vocabulary_.token(id);
    put(out, static_cast<uint32_t>(id));
    put(out, static_cast<uint32_t>(token.size()));
    out += token;
  }
  struct Row {
    uint32_t rank;
    int32_t left;
    int32_t right;
    int32_t joined;
  };
  std::vector<Row> rows;
  merges_.for_each([&](int32_t left, int32_t right, const PairMap::Value& value) {
    rows.push_back({value.rank, left, right, value.id});
  });
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.rank < b.rank; });
  put(out, static_cast<uint32_t>(rows.size()));
  for (const Row& row : rows) {
    for (const int32_t id : {row.left, row.right, row.joined}) put(out, static_cast<uint32_t>(id));
  }
  return true;
}

Result<std::unique_ptr<Model>> BpeModel::from_tables(BpeConfig config, std::string_view tables) {
  TableReader reader(tables);
  ASSIGN_OR_RETURN(Vocabulary vocabulary, read_vocabulary(reader));
  std::unique_ptr<BpeModel> model(new BpeModel(std::move(config), std::move(vocabulary)));
  ASSIGN_OR_RETURN(const uint32_t count, reader.number());
  if (count > kMaxMerges || reader.left() != size_t{count} * 12) {
    return corrupt("tokenizer tables: {} merges in {} bytes", count, reader.left());
  }
  model->reserve_merges(count);
  for (uint32_t rank = 0; rank < count; ++rank) {
    std::array<int32_t, 3> ids;
    for (int32_t& id : ids) {
      ASSIGN_OR_RETURN(const uint32_t value, reader.number());
      id = static_cast<int32_t>(value);
      if (model->vocabulary_.token(id).empty()) {
        return corrupt("tokenizer tables: merge {} names token {}, which is not there", rank,
                       value);
      }
    }
    model->merges_.set(ids[0], ids[1], {rank, ids[2]});
    model->add_boundary(model->vocabulary_.token(ids[0]), model->vocabulary_.token(ids[1]));
  }
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace ramjet::text

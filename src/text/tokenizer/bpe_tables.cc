// The binary form of a BPE model's vocabulary and merges: docs/formats/tokenizer.md.
#include <algorithm>
#include <array>
#include <tuple>

#include "text/tokenizer/bpe.h"
#include "text/tokenizer/model_tables.h"

namespace ramjet::text {
namespace {

constexpr uint32_t kMaxMerges = 1 << 24;

}  // namespace

bool BpeModel::save_tables(std::string& out) const {
  if (!put_vocabulary(out, vocabulary_)) return false;
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
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::tie(a.rank, a.left, a.right) < std::tie(b.rank, b.left, b.right);
  });
  put_number(out, static_cast<uint32_t>(rows.size()));
  for (const Row& row : rows) {
    for (const int32_t id : {row.left, row.right, row.joined})
      put_number(out, static_cast<uint32_t>(id));
  }
  // Ranks of their own stand behind the merges.
  if (config_.ranks.empty()) return true;
  for (const Row& row : rows) put_number(out, row.rank);
  return true;
}

Result<std::unique_ptr<Model>> BpeModel::from_tables(BpeConfig config, std::string_view tables) {
  TableReader reader(tables);
  ASSIGN_OR_RETURN(Vocabulary vocabulary, reader.vocabulary());
  config.ranks.clear();  // they come with the tables
  std::unique_ptr<BpeModel> model(new BpeModel(std::move(config), std::move(vocabulary)));
  ASSIGN_OR_RETURN(const uint32_t count, reader.number());
  if (count > kMaxMerges ||
      (reader.left() != size_t{count} * 12 && reader.left() != size_t{count} * 16)) {
    return corrupt("tokenizer tables: {} merges in {} bytes", count, reader.left());
  }
  model->reserve_merges(count);
  std::vector<std::array<int32_t, 3>> merges;
  merges.reserve(count);
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
    merges.push_back(ids);
    model->add_boundary(model->vocabulary_.token(ids[0]), model->vocabulary_.token(ids[1]));
  }
  for (uint32_t i = 0; i < count && reader.left() > 0; ++i) {
    ASSIGN_OR_RETURN(const uint32_t rank, reader.number());
    model->config_.ranks.push_back(rank);
    model->merges_.set(merges[i][0], merges[i][1], {rank, merges[i][2]});
  }
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace ramjet::text

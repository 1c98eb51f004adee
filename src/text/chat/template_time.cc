// TemplateTime and strftime.
#include <cstdlib>
#include <ctime>
#include <string>

#include "text/chat/chat_template.h"
#include "text/chat/globals.h"

namespace ramjet::text {
namespace {

constexpr size_t kMaxFormatBytes = 4096;

class IsoReader {
 public:
  explicit IsoReader(std::string_view text) : text_(text) {}

  bool digits(int count, int& out) {
    if (text_.size() < static_cast<size_t>(count)) return false;
    out = 0;
    for (int i = 0; i < count; ++i) {
      const char c = text_[static_cast<size_t>(i)];
      if (c < '0' || c > '9') return false;
      out = out * 10 + (c - '0');
    }
    text_.remove_prefix(static_cast<size_t>(count));
    return true;
  }
  bool skip(char c) {
    if (!text_.starts_with(c)) return false;
    text_.remove_prefix(1);
    return true;
  }
  /// Three or six digits of a second.
  bool fraction(int& microseconds) {
    const size_t n = std::min(text_.find_first_not_of("0123456789"), text_.size());
    if (n == 0 || n > 9) return false;
    int value = 0;
    digits(static_cast<int>(n), value);
    for (size_t i = n; i < 6; ++i) value *= 10;
    for (size_t i = 6; i < n; ++i) value /= 10;
    microseconds = value;
    return true;
  }
  bool offset(std::optional<int>& seconds) {
    if (at_end()) return true;
    if (skip('Z')) {
      seconds = 0;
      return at_end();
    }
    const bool is_west = skip('-');
    if (!is_west && !skip('+')) return false;
    int hours = 0;
    int minutes = 0;
    if (!digits(2, hours)) return false;
    skip(':');
    if (!at_end() && !digits(2, minutes)) return false;
    if (hours > 23 || minutes > 59) return false;
    seconds = (hours * 3600 + minutes * 60) * (is_west ? -1 : 1);
    return at_end();
  }
  bool at_end() const { return text_.empty(); }

 private:
  std::string_view text_;
};

bool read_iso(std::string_view iso, TemplateTime& t) {
  IsoReader reader(iso);
  if (!reader.digits(4, t.year) || !reader.skip('-') || !reader.digits(2, t.month) ||
      !reader.skip('-') || !reader.digits(2, t.day)) {
    return false;
  }
  if (reader.at_end()) return true;
  if (!reader.skip('T') && !reader.skip(' ')) return false;
  if (!reader.digits(2, t.hour)) return false;
  if (reader.skip(':')) {
    if (!reader.digits(2, t.minute)) return false;
    if (reader.skip(':')) {
      if (!reader.digits(2, t.second)) return false;
      if (reader.skip('.') && !reader.fraction(t.microsecond)) return false;
    }
  }
  return reader.offset(t.utc_offset_s);
}

std::tm to_tm(const TemplateTime& t) {
  std::tm tm{};
  tm.tm_year = t.year - 1900;
  tm.tm_mon = t.month - 1;
  tm.tm_mday = t.day;
  tm.tm_hour = t.hour;
  tm.tm_min = t.minute;
  tm.tm_sec = t.second;
  std::tm copy = tm;
  timegm(&copy);  // fills the day of the week and of the year
  tm.tm_wday = copy.tm_wday;
  tm.tm_yday = copy.tm_yday;
  tm.tm_isdst = -1;
  return tm;
}

bool is_valid(const TemplateTime& t) {
  if (t.year < 1 || t.month < 1 || t.month > 12 || t.day < 1 || t.hour > 23 || t.minute > 59 ||
      t.second > 59) {
    return false;
  }
  std::tm tm{};
  tm.tm_year = t.year - 1900;
  tm.tm_mon = t.month - 1;
  tm.tm_mday = t.day;
  timegm(&tm);
  return tm.tm_mday == t.day;  // February 30 turns into March
}

}  // namespace

Result<TemplateTime> TemplateTime::from_iso(std::string_view iso) {
  TemplateTime t;
  if (!read_iso(iso, t) || !is_valid(t)) {
    return invalid_argument("'{}' is no ISO 8601 time; write 2024-07-26 or 2024-07-26T12:34:56",
                            iso.substr(0, 64));
  }
  return t;
}

TemplateTime TemplateTime::now_local() {
  std::timespec now{};
  std::timespec_get(&now, TIME_UTC);
  std::tm tm{};
  localtime_r(&now.tv_sec, &tm);
  return {tm.tm_year + 1900,
          tm.tm_mon + 1,
          tm.tm_mday,
          tm.tm_hour,
          tm.tm_min,
          tm.tm_sec,
          static_cast<int>(now.tv_nsec / 1000),
          std::nullopt};
}

namespace chat {
namespace {

std::string offset_text(const TemplateTime& time) {
  if (!time.utc_offset_s) return {};
  const int offset = *time.utc_offset_s;
  const int minutes = std::abs(offset) / 60;
  return fmt::format("{}{:02}{:02}", offset < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

std::string zone_name(const TemplateTime& time) {
  if (!time.utc_offset_s) return {};
  const std::string offset = offset_text(time);
  if (*time.utc_offset_s == 0) return "UTC";
  return "UTC" + offset.substr(0, 3) + ":" + offset.substr(3);
}

}  // namespace

std::string format_time(const TemplateTime& time, std::string_view format) {
  if (format.size() > kMaxFormatBytes) {
    fail("strftime_now() takes at most {} bytes of format, not {}", kMaxFormatBytes, format.size());
  }
  // What C does not know, or would take from the machine's zone, is replaced first.
  std::string c_format;
  for (size_t i = 0; i < format.size(); ++i) {
    const char next = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : '\0';
    if (next == 'f') {
      c_format += fmt::format("{:06}", time.microsecond);
    } else if (next == 'z') {
      c_format += offset_text(time);
    } else if (next == 'Z') {
      c_format += zone_name(time);
    } else if (next != '\0') {
      c_format += '%';
      c_format += next;
    } else {
      c_format += format[i] == '%' ? "%%" : std::string(1, format[i]);
      continue;
    }
    ++i;
  }
  if (c_format.empty()) return {};
  c_format += '.';  // so that an empty result can be told from a full buffer
  const std::tm tm = to_tm(time);
  std::string out(kMaxFormatBytes * 8, '\0');
  const size_t n = std::strftime(out.data(), out.size(), c_format.c_str(), &tm);
  if (n == 0) fail("strftime_now(): format makes a text of more than {} bytes", out.size());
  out.resize(n - 1);
  return out;
}

}  // namespace chat
}  // namespace ramjet::text

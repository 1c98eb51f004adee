#include "text/grammar/formats.h"

#include <array>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "text/grammar/regex.h"

namespace ramjet::text {
namespace {

using Text = std::string;

constexpr size_t kMaxStates = 80'000;  // before they are minimized

Text group(const Text& inner) { return "(?:" + inner + ")"; }
Text two_digits(int n) {
  return {static_cast<char>('0' + n / 10), static_cast<char>('0' + n % 10)};
}

// RFC 3339, with the days of each month and leap years.
Text date() {
  return R"((?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01]))"
         R"(|(?:0[469]|11)-(?:0[1-9]|[12]\d|30))"
         R"(|02-(?:0[1-9]|1\d|2[0-8]))|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|)"
         R"((?:[02468][048]|[13579][26])00)-02-29))";
}

// A leap second is one at 23:59:60 UTC, so the offset is the only one that makes it that.
Text leap_seconds() {
  constexpr int kDay = 1440;
  Text out;
  for (int minute = 0; minute < kDay; ++minute) {
    const auto clock = [](int m) { return two_digits(m / 60) + ":" + two_digits(m % 60); };
    const int east = (minute + 1) % kDay;
    const int west = (kDay - 1 - minute) % kDay;
    out += (minute == 0 ? "" : "|") + clock(minute) + R"(:60(?:\.\d+)?(?:\+)" + clock(east) + "|-" +
           clock(west) + (minute == kDay - 1 ? "|[Zz]" : "") + ")";
  }
  return group(out);
}

Text time() {
  return group(
      R"((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)|)" +
      leap_seconds());
}

// RFC 3339, appendix A.
Text duration() {
  const Text second = R"(\d+S)";
  const Text minute = R"(\d+M(?:)" + second + ")?";
  const Text hour = R"(\d+H(?:)" + minute + ")?";
  const Text time = "T(?:" + hour + "|" + minute + "|" + second + ")";
  const Text day = R"(\d+D)";
  const Text month = R"(\d+M(?:)" + day + ")?";
  const Text year = R"(\d+Y(?:)" + month + ")?";
  return "P(?:(?:" + day + "|" + month + "|" + year + ")(?:" + time + ")?|" + time + R"(|\d+W))";
}

Text ipv4() {
  const Text octet = R"((?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d))";
  return group(octet + R"((?:\.)" + octet + "){3}");
}

Text ipv6() {
  const Text h = "[0-9A-Fa-f]{1,4}";
  const Text last = group(h + ":" + h + "|" + ipv4());
  const Text hs = group(h + ":");
  Text out = hs + "{6}" + last + "|::" + hs + "{5}" + last;
  for (int before = 0; before <= 6; ++before) {
    const Text head = "(?:" + hs + "{0," + std::to_string(before) + "}" + h + ")?::";
    const int between = 4 - before;
    const Text tail = between >= 0  ? hs + "{" + std::to_string(between) + "}" + last
                      : before == 5 ? h
                                    : Text();
    out += "|" + head + tail;
  }
  return group(out);
}

struct UriParts {
  Text absolute, relative;
};

// RFC 3986, and 3987 with the wider character set.
UriParts uri_parts(bool wide) {
  const Text more = wide ? R"(\u{a0}-\u{d7ff}\u{f900}-\u{fdcf}\u{fdf0}-\u{ffef}\u{10000}-\u{1fffd})"
                           R"(\u{20000}-\u{2fffd}\u{30000}-\u{3fffd}\u{40000}-\u{4fffd})"
                           R"(\u{50000}-\u{5fffd}\u{60000}-\u{6fffd}\u{70000}-\u{7fffd})"
                           R"(\u{80000}-\u{8fffd}\u{90000}-\u{9fffd}\u{a0000}-\u{afffd})"
                           R"(\u{b0000}-\u{bfffd}\u{c0000}-\u{cfffd}\u{d0000}-\u{dfffd})"
                           R"(\u{e1000}-\u{efffd})"
                         : "";
  const Text priv = wide ? R"(\u{e000}-\u{f8ff}\u{f0000}-\u{ffffd}\u{100000}-\u{10fffd})" : "";
  const Text plain = R"(A-Za-z0-9\-._~)" + more + "!$&'()*+,;=";
  const Text pct = "|%[0-9A-Fa-f]{2})";
  const Text pchar = "(?:[" + plain + ":@]" + pct;
  const Text no_colon = "(?:[" + plain + "@]" + pct;
  const Text reg_name = "(?:[" + plain + "]" + pct + "*";
  const Text literal =
      R"(\[(?:)" + ipv6() + R"(|[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\])";
  const Text user = "(?:(?:[" + plain + ":]" + pct + "*@)?";
  const Text authority = "//" + user + "(?:" + literal + "|" + reg_name + R"()(?::\d*)?)";
  const Text segments = "(?:/" + pchar + "*)*";
  const Text absolute_path = "/(?:" + pchar + "+" + segments + ")?";
  const Text tail = R"((?:\?(?:)" + pchar + "|[/?" + priv + "])*)?(?:#(?:" + pchar + "|[/?])*)?";
  const Text common = authority + segments + "|" + absolute_path + "|";
  return {"[A-Za-z][A-Za-z0-9+.\\-]*:(?:" + common + pchar + "+" + segments + "|)" + tail,
          "(?:" + common + no_colon + "+" + segments + "|)" + tail};
}

Text uri() { return uri_parts(false).absolute; }
Text uri_reference() { return uri() + "|" + uri_parts(false).relative; }
Text iri() { return uri_parts(true).absolute; }
Text iri_reference() { return iri() + "|" + uri_parts(true).relative; }

// RFC 5321's mailbox; of RFC 6531 with the wider character set.
Text mailbox(bool wide) {
  const Text more = wide ? R"(\u{80}-\u{10ffff})" : "";
  const Text atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\\-" + more + "]+";
  const Text quoted = R"("(?:[ !#-\[\]-~)" + more + R"(]|\\[ -~])*")";
  // Not a full stop that is none, as U+FF0E: labels hold letters, marks and digits.
  const Text letter =
      wide ? R"(A-Za-z0-9\u{80}-\u{3001}\u{3003}-\u{ff0d}\u{ff0f}-\u{ff60}\u{ff62}-\u{10ffff})"
           : "A-Za-z0-9";
  const Text label = "[" + letter + "](?:[" + letter + "\\-]*[" + letter + "])?";
  return "(?:" + atom + R"((?:\.)" + atom + ")*|" + quoted + ")@(?:" + label + R"((?:\.)" + label +
         R"()*|\[(?:)" + ipv4() + "|IPv6:" + ipv6() + R"()\]))";
}
Text email() { return mailbox(false); }
Text idn_email() { return mailbox(true); }

Text uuid() { return "[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"; }
Text json_pointer() { return R"((?:/(?:[^~/]|~[01])*)*)"; }
Text relative_json_pointer() { return "(?:0|[1-9]\\d*)(?:#|" + json_pointer() + ")"; }

// RFC 6570.
Text uri_template() {
  const Text pct = "%[0-9A-Fa-f]{2}";
  const Text literal =
      R"((?:[!#$&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~\u{a0}-\u{d7ff}\u{e000}-\u{10ffff}]|)" + pct + ")";
  const Text character = "(?:[A-Za-z0-9_]|" + pct + ")";
  const Text name = character + R"((?:\.?)" + character + ")*";
  const Text variable = name + R"((?::[1-9]\d{0,3}|\*)?)";
  return "(?:" + literal + R"(|\{[+#./;?&=,!@|]?)" + variable + "(?:," + variable + R"()*\})*)";
}

Text date_time() { return date() + "[Tt]" + time(); }

struct Format {
  std::string_view name;
  Text (*pattern)();  // null: not enforced
};
constexpr std::array<Format, 20> kFormats{{
    {"date-time", date_time},
    {"date", date},
    {"time", time},
    {"duration", duration},
    {"email", email},
    {"idn-email", idn_email},
    {"ipv4", ipv4},
    {"ipv6", ipv6},
    {"uri", uri},
    {"uri-reference", uri_reference},
    {"iri", iri},
    {"iri-reference", iri_reference},
    {"uuid", uuid},
    {"uri-template", uri_template},
    {"json-pointer", json_pointer},
    {"relative-json-pointer", relative_json_pointer},
    {"hostname", nullptr},      // its A-labels must decode to valid U-labels: not regular
    {"idn-hostname", nullptr},  // likewise
    {"regex", nullptr},         // nested
    {"", nullptr},
}};

}  // namespace

Result<std::shared_ptr<const Dfa>> format_language(std::string_view name) {
  static std::mutex mutex;
  static std::map<std::string_view, std::shared_ptr<const Dfa>> known;
  for (const Format& format : kFormats) {
    if (format.name != name || name.empty()) continue;
    if (format.pattern == nullptr) return unsupported("'format' {} cannot be enforced", name);
    const std::lock_guard lock(mutex);
    auto& slot = known[format.name];
    if (slot == nullptr) {
      ASSIGN_OR_RETURN(Dfa dfa, compile_regex(format.pattern(), RegexMatch::kWhole, kMaxStates));
      slot = std::make_shared<const Dfa>(std::move(dfa));
    }
    return slot;
  }
  return std::shared_ptr<const Dfa>();
}

}  // namespace ramjet::text

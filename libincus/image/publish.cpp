// SPDX-License-Identifier: Apache-2.0
// An instance's root as an image file.
#include <algorithm>
#include <iterator>
#include <sstream>
#include <sys/mman.h>
#include <yaml-cpp/yaml.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/unpack/common.hpp"
#include "image/helper.hpp"
#include "image/image.hpp"
#include "sys/fault.hpp"

namespace incus::image {

namespace {

struct Compressor {
  const char *name, *filter; ///< as Incus and as libarchive call it
  int least, most;           ///< levels
};
constexpr Compressor compressors[] = {{"gzip", "gzip", 1, 9}, {"pigz", "gzip", 1, 9}, {"bzip2", "bzip2", 1, 9}, {"xz", "xz", 0, 9},
                                      {"lzma", "lzma", 0, 9},  {"zstd", "zstd", 1, 19}, {"lz4", "lz4", 1, 9}};

std::int64_t seconds(Time t) { return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count(); }

} // namespace

std::string check_compression(const std::string &text) {
  if (text.empty()) return "gzip";
  if (text == "none") return "";
  std::istringstream words(text);
  std::string name, level;
  bool rsyncable = false;
  words >> name;
  auto *found = std::find_if(std::begin(compressors), std::end(compressors), [&](auto &c) { return name == c.name; });
  if (found == std::end(compressors))
    base::fail(ErrorCode::invalid_argument, "unknown compression algorithm {}: must be none, gzip, bzip2, xz, lzma, zstd or lz4, and may have a level, as in \"zstd -7\"",
               base::quoted(text));
  for (std::string word; words >> word;) {
    if (word == "--rsyncable" && !rsyncable && std::string_view(found->filter) == "gzip") {
      rsyncable = true;
      continue;
    }
    bool digits = word.size() >= 2 && word.size() <= 3 && word[0] == '-' && word.find_first_not_of("0123456789", 1) == std::string::npos;
    int n = digits ? std::stoi(word.substr(1)) : -1;
    if (!level.empty() || n < found->least || n > found->most)
      base::fail(ErrorCode::invalid_argument, "invalid compression option {} in {}: {} has one level from -{} to -{}{}", base::quoted(word), base::quoted(text), name,
                 found->least, found->most, std::string_view(found->filter) == "gzip" ? " and --rsyncable" : "");
    level = std::to_string(n);
  }
  std::string out = found->filter;
  if (!level.empty()) out += " " + level;
  if (rsyncable) out += " rsyncable";
  return out;
}

std::string format_metadata(const Metadata &m) {
  YAML::Emitter out;
  auto text = [&](const std::string &s) { out << YAML::DoubleQuoted << s; };
  auto config = [&](const Config &c) {
    out << YAML::BeginMap;
    for (auto &[k, v] : c) {
      out << YAML::Key;
      text(k);
      out << YAML::Value;
      text(v);
    }
    out << YAML::EndMap;
  };
  out << YAML::BeginMap << YAML::Key << "architecture" << YAML::Value;
  text(m.architecture);
  out << YAML::Key << "creation_date" << YAML::Value << seconds(m.creation_date);
  if (m.expiry_date > Time()) out << YAML::Key << "expiry_date" << YAML::Value << seconds(m.expiry_date);
  out << YAML::Key << "properties" << YAML::Value;
  config(m.properties);
  out << YAML::Key << "templates" << YAML::Value << YAML::BeginMap;
  for (auto &[target, t] : m.templates) {
    out << YAML::Key;
    text(target);
    out << YAML::Value << YAML::BeginMap << YAML::Key << "when" << YAML::Value << YAML::BeginSeq;
    for (auto &w : t.when) text(w);
    out << YAML::EndSeq << YAML::Key << "create_only" << YAML::Value << t.create_only << YAML::Key << "template" << YAML::Value;
    text(t.source);
    out << YAML::Key << "properties" << YAML::Value;
    config(t.properties);
    for (auto &[key, value] : {std::pair<const char *, const std::string &>{"uid", t.uid}, {"gid", t.gid}, {"mode", t.mode}}) {
      if (value.empty()) continue;
      out << YAML::Key << key << YAML::Value;
      text(value);
    }
    out << YAML::EndMap;
  }
  out << YAML::EndMap << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

void publish(const std::string &helper, const Publication &p, int out, const Progress &progress) {
  std::vector<std::string> args{p.compression, p.volume};
  if (p.rootfs.kind == storage::RootfsPlan::Kind::overlay) {
    args.insert(args.end(), {"overlay", p.rootfs.lower, p.rootfs.upper});
  } else {
    args.insert(args.end(), {"directory", p.rootfs.path});
    for (auto &r : p.ids) {
      if (r.uid) args.push_back(fmt::format("u {} {} {}", r.host, r.guest, r.count));
      if (r.gid) args.push_back(fmt::format("g {} {} {}", r.host, r.guest, r.count));
    }
  }
  base::Fd text(::memfd_create("metadata.yaml", MFD_CLOEXEC));
  if (!text || ::pwrite(text.get(), p.metadata_yaml.data(), p.metadata_yaml.size(), 0) != static_cast<ssize_t>(p.metadata_yaml.size()))
    base::fail_errno(errno, "cannot make a file in memory");
  sys::FaultScope fault("pack image");
  Job job(helper, static_cast<std::uint32_t>(unpack::Op::publish), std::move(args), {out, text.get()});
  job.finish(progress);
}

} // namespace incus::image

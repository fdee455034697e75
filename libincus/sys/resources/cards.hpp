// SPDX-License-Identifier: Apache-2.0
// How cards of a kind are found: those of a class in /sys, then what else is on the PCI bus; virtual functions stand with their card.
#pragma once
#include <map>
#include <set>

#include "sys/resources/tree.hpp"

namespace incus::sys::resources {

/// Fills `out` (cards, total). `describe(directory)` makes a card; `counts(entry)` says which entries of `class_directory` are cards;
/// `pci_class` is how the class of others begins, such as "0x03".
template <class All, class Describe, class Counts>
void find_cards(All &out, const std::string &root, const std::string &class_directory, std::string_view pci_class, Describe describe, Counts counts) {
  using Card = typename decltype(out.cards)::value_type;
  std::set<std::string> known;
  std::map<std::string, std::vector<Card>> functions; // by the address of their card
  auto add = [&](const std::string &dir, const std::string &address) {
    auto card = describe(dir);
    card.pci_address = address;
    if (exists(dir + "/physfn"))
      functions[target_name(dir + "/physfn")].push_back(std::move(card));
    else
      out.cards.push_back(std::move(card));
  };
  auto top = root + class_directory;
  for (auto &e : list(top)) {
    auto dir = top + "/" + e + "/device";
    if (!counts(e) || !exists(dir)) continue;
    auto address = pci_address(dir);
    // One card may have several entries.
    if (address.empty() || known.insert(address).second) add(dir, address);
  }
  // What has none here: without a driver, or with it elsewhere.
  auto pci = root + "/sys/bus/pci/devices";
  for (auto &e : list(pci))
    if (auto dir = pci + "/" + e; !known.count(e) && text(dir + "/class").starts_with(pci_class)) add(dir, e);
  for (auto &c : out.cards) {
    out.total++;
    if (!c.sriov) continue;
    c.sriov->vfs = std::move(functions[c.pci_address]);
    out.total += c.sriov->vfs.size();
  }
}

} // namespace incus::sys::resources

// SPDX-License-Identifier: BSD-3-Clause
// Addresses, ports and names as people write them, and back. The parse functions take the whole text or fail;
// an error's `field` is left empty for the caller to fill, its message reads "got '...', want ...".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "control/error.h"
#include "control/rule.h"
#include "dataplane/net/address.h"

namespace fwd::control {

Result<net::IpAddress> parse_address(std::string_view text);    ///< "10.0.0.3" or "2001:db8::3"
Result<net::IpEndpoint> parse_endpoint(std::string_view text);  ///< "10.0.0.3:80" or "[2001:db8::3]:80"
/// "10.0.0.3:80" or "10.0.0.3:8000-8100".
Result<net::EndpointRange> parse_endpoint_range(std::string_view text);
/// The same, or an address alone, which is all of it: see check_ports().
Result<net::EndpointRange> parse_rule_endpoint(std::string_view text);
/// The same or "link:wan:80": a link's address, whatever it is, which also says the link if nothing else has.
Result<void> parse_external(std::string_view text, Rule& rule);
/// What parse_external() has read.
std::string external_text(const Rule& rule);
/// "10.0.0.4:8080", or several with their weights: "10.0.0.4:8080*3,10.0.0.5:8080". A target may be an
/// address alone as well.
Result<std::vector<Target>> parse_targets(std::string_view text);
Result<Existing> parse_existing(std::string_view text);     ///< "keep", "drain" or "kill"
Result<Balance> parse_balance(std::string_view text);       ///< "round-robin" or "source-hash"
Result<std::uint16_t> parse_port(std::string_view text);    ///< 1 to 65535
Result<net::IpPrefix> parse_prefix(std::string_view text);  ///< "10.0.0.0/24"; host bits must be 0
Result<net::IpInterfaceAddress> parse_interface_address(std::string_view text);  ///< "10.0.0.2/24"
Result<net::MacAddress> parse_mac(std::string_view text);                        ///< "02:00:00:00:00:01"
Result<std::string> parse_name(std::string_view text);  ///< of a rule: 1 to 63 of [A-Za-z0-9._-]
/// At most 255 bytes of UTF-8 on one line, without anything that a terminal would act on.
Result<std::string> parse_comment(std::string_view text);
Result<std::string> parse_link_name(std::string_view text);   ///< 1 to 31 of [A-Za-z0-9._-]
Result<SourceMode> parse_source_mode(std::string_view text);  ///< "auto", "masquerade" or "preserve"

std::string to_text(net::IpAddress address);           ///< IPv6 as RFC 5952 writes it
std::string to_text(const net::IpEndpoint& endpoint);  ///< "10.0.0.3:80" or "[2001:db8::3]:80"
std::string to_text(const net::Endpoint& endpoint);
std::string to_text(const net::EndpointRange& range);
std::string to_text(const net::IpPrefix& prefix);
std::string to_text(const net::IpInterfaceAddress& address);
std::string to_text(const net::MacAddress& mac);
std::string to_text(SourceMode mode);
std::string to_text(Balance balance);
std::string to_text(const Target& target);
std::string to_text(const std::vector<Target>& targets);
std::string to_text(RuleOrigin origin);  ///< "config", "database" or "runtime"

/// Text of unknown origin with everything but printable ASCII written as "\x1b", harmless to a terminal and
/// to JSON.
std::string printable(std::string_view text);

/// The same in single quotes and cut short when it is long, for messages.
std::string in_quotes(std::string_view text);

/// The name of a rule that was given none: "tcp-10.0.0.3-80", and "-wan" behind it for a rule of one link.
std::string default_name(const Rule& rule);

/// "tcp", "udp", "tcp+udp" or "all".
std::string protocols_text(const Rule& rule);
/// The inverse: sets `tcp`, `udp` and `all` of the rule.
Result<void> parse_protocols(std::string_view text, Rule& rule);
/// Whether a rule has ports where its protocol wants them: whole addresses belong to "all", which is said in
/// so many words, and nothing else does. The error's field is the rule's key.
Result<void> check_ports(const Rule& rule);
/// "tcp", "gre", or the number of a protocol that has no name here.
std::string to_text(net::Protocol protocol);

/// The nearest of `candidates` for a misspelt word, or empty when none is near.
std::string_view nearest(std::string_view word, const std::string_view* first, const std::string_view* last);

}  // namespace fwd::control

// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "image/template.hpp"
#include "incus/error.hpp"

using namespace incus;
namespace json = boost::json;

namespace {

image::TemplateContext context() {
  image::TemplateContext c;
  c.values = {{"instance", {{"name", "web"}, {"privileged", "false"}}},
              {"trigger", "create"},
              {"devices", {{"root", {{"path", "/"}, {"type", "disk"}}}, {"eth0", {{"type", "nic"}}}}},
              {"list", {"b", "a", "c"}},
              {"count", 3},
              {"properties", {{"default", "none"}}}};
  c.functions["config_get"] = [](const std::vector<json::value> &a) -> json::value { return a.at(0) == "user.there" ? json::value("yes") : a.at(1); };
  return c;
}

std::string render(const std::string &text) { return image::render_template(text, context()); }

std::string refusal(const std::string &text) {
  try {
    render(text);
  } catch (const Error &e) {
    return e.what();
  }
  return "accepted";
}

} // namespace

TEST_CASE("templates: what images say") {
  CHECK(render("{{ instance.name }}\n") == "web\n");
  CHECK(render("127.0.1.1\t{{ instance.name }}") == "127.0.1.1\tweb");
  const std::string network = "{% if config_get(\"user.gone\", \"\") == \"\" %}version: 1\nconfig:\n  - type: physical\n{% else %}{{ config_get(\"user.there\", \"\") }}{% endif %}";
  CHECK(render(network) == "version: 1\nconfig:\n  - type: physical\n");
  CHECK(render("{{ config_get('user.there', properties.default) }} {{ config_get('user.gone', properties.default) }}") == "yes none");
  CHECK(render("{%- if trigger == \"create\" or trigger == 'copy' -%}\n  x\n{%- endif -%}\n") == "x");
  CHECK(render("a { b } {c} }} %} # {") == "a { b } {c} }} %} # {");
  CHECK(render("") == "");
}

TEST_CASE("templates: expressions") {
  CHECK(render("{{ 1 + 2 * 3 - -4 }} {{ (1 + 2) * 3 }} {{ 7 / 2 }} {{ 7 % 4 }} {{ 1.5 + 1 }}") == "11 9 3 3 2.500000");
  CHECK(render("{{ 'a' + 1 }} {{ \"it's\" }} {{ 'a\\n\\'b' }}") == "a1 it's a\n'b");
  CHECK(render("{{ count > 2 and not (count >= 4) }} {{ !true }} {{ count <> 3 || 'a' < 'b' }}") == "True False True");
  CHECK(render("{{ 'b' in list }} {{ 'x' not in list }} {{ 'eth0' in devices }} {{ 'e' in 'web' }}") == "True True True True");
  CHECK(render("{{ list.0 }}{{ list.2 }}{{ list.9 }} {{ devices.root.path }}{{ devices['eth0'].type }} {{ nothing.at.all }}|{{ nil }}") == "bc /nic |");
  CHECK(render("{{ 3 == 3.0 }} {{ '3' == 3 }} {{ nothing == nil }} {{ true && false }}") == "True False True False");
}

TEST_CASE("templates: filters") {
  CHECK(render("{{ nothing|default:'x' }} {{ ''|default:trigger }} {{ count|default:1 }}") == "x create 3");
  CHECK(render("{{ 'Ab c'|upper }} {{ 'Ab'|lower }} {{ 'ab cd'|title }} {{ 'ab'|capfirst }}") == "AB C ab Ab Cd Ab");
  CHECK(render("{{ list|join:', ' }} {{ list|length }} {{ list|first }}{{ list|last }} {{ 'a,b'|split:','|last }}") == "b, a, c 3 bc b");
  CHECK(render("[{{ 'ab'|ljust:4 }}] [{{ 'ab'|rjust:4 }}] [{{ 'ab'|center:4 }}]") == "[ab  ] [  ab] [ ab ]");
  CHECK(render("{{ 'abcdef'|slice:'1:3' }} {{ 'abcdef'|slice:':-2' }} {{ 'h\xc3\xa4user'|slice:'1:2' }} {{ 'h\xc3\xa4user'|length }}") == "bc abcd \xc3\xa4 6");
  CHECK(render("{{ ' x '|trim }}|{{ 'a b'|cut:' ' }}|{{ 'a/b c'|urlencode }}|{{ true|yesno:'on,off' }}|{{ '12'|integer + 1 }}") == "x|ab|a%2Fb%20c|on|13");
  CHECK(render("{{ 'some longer text'|truncatechars:8 }} {{ 4|divisibleby:2 }} {{ 'a-b'|replace:'-,+' }} {{ 2|add:3 }}{{ 'a'|add:3 }}") == "some ... True a+b 5a3");
}

TEST_CASE("templates: tags") {
  CHECK(render("{% if count == 1 %}one{% elif count == 3 %}three{% else %}many{% endif %}") == "three");
  CHECK(render("{% for x in list %}{{ forloop.Counter }}{{ x }}{% if not forloop.Last %},{% endif %}{% endfor %}") == "1b,2a,3c");
  CHECK(render("{% for x in list reversed %}{{ x }}{% endfor %}{% for x in list sorted %}{{ x }}{% endfor %}") == "cababc");
  CHECK(render("{% for name, d in devices %}{{ name }}={{ d.type }} {% endfor %}{% for x in nothing %}x{% empty %}none{% endfor %}") == "eth0=nic root=disk none");
  CHECK(render("{% for a in list %}{% for b in 'xy' %}{{ forloop.Parentloop.Counter }}{{ b }}{% endfor %}{% endfor %}") == "1x1y2x2y3x3y");
  CHECK(render("{% set a = 1 %}{% with a=2 b=a %}{{ a }}{{ b }}{% endwith %}{{ a }}") == "211");
  CHECK(render("a{# not {{ this }} #}b{% comment %}{{ nor }} this{% endcomment %}c") == "abc");
  CHECK(render("{% verbatim %}{{ as it is }}{% endverbatim %}{% autoescape off %}<&>{% endautoescape %}{{ '<' }}") == "{{ as it is }}<&><");
  CHECK(render("{% firstof nothing '' 'x' %}{% templatetag openblock %}{% ifequal count 3 %}3{% else %}no{% endifequal %}") == "x{%3");
  CHECK(render("{{ \"}}\" }}{% if '%}' %}y{% endif %}") == "}}y");
}

TEST_CASE("templates: what is wrong is told with its line") {
  CHECK(refusal("\n\n{{ a b }}") == "line 3: \"b\" is not understood in {{ }}");
  CHECK(refusal("{% if x %}\n") == "line 1: {% if %} has no {% endif %}");
  CHECK(refusal("\n{% endif %}") == "line 2: there is no tag \"endif\"");
  CHECK(refusal("{{ x|nofilter }}") == "line 1: there is no filter \"nofilter\"");
  CHECK(refusal("{{ run('x') }}") == "line 1: there is no function \"run\"");
  for (auto *tag : {"include '/etc/shadow'", "extends 'x'", "import 'x' y", "ssi '/etc/shadow'"})
    CHECK(refusal("{% " + std::string(tag) + " %}").find("read no files") != std::string::npos);
  for (auto *text : {"{{", "{{ 'a", "{% if", "{#", "{{ }}", "{{ 1 + }}", "{% for %}{% endfor %}", "{% for x in %}{% endfor %}", "{% set x %}", "{% verbatim %}", "{{ a.b(1) }}",
                     "{{ 1/0 }}", "{{ 1 % 0 }}", "{{ 'a' * 2 }}", "{{ 9223372036854775807 + 1 }}", "{{ 99999999999999999999 }}", "{{ 'a' < 1 }}", "{% else %}", "{{ [ }}",
                     "{{ 'x'|slice:'1' }}", "{{ 'x'|integer }}", "{{ x|default }}", "{% if a %}{% else %}{% else %}{% endif %}", "{% autoescape maybe %}{% endautoescape %}"})
    CHECK_MESSAGE(refusal(text).rfind("line 1: ", 0) == 0, text, ": ", refusal(text));
}

TEST_CASE("templates: bombs go off early") {
  std::string deep, tags, chain = "{{ 1";
  for (int i = 0; i < 900; i++) deep += "(";
  for (int i = 0; i < 5000; i++) tags += "{% if 1 %}";
  for (int i = 0; i < 5000; i++) chain += "+1";
  CHECK(refusal("{{ " + deep + " }}").find("nested deeper") != std::string::npos);
  CHECK(refusal(tags).find("nested deeper") != std::string::npos);
  CHECK(refusal(chain + " }}").find("more than 1000 words") != std::string::npos);
  CHECK(refusal("{{ " + std::string(900, '-') + "1 }}").find("nested deeper") != std::string::npos);
  CHECK(refusal("{{ " + std::string(900, '!') + "1 }}").find("nested deeper") != std::string::npos);
  std::string loops, ends;
  for (int i = 0; i < 20; i++) loops += "{% for x in 'aaaaaaaaaa' %}", ends += "{% endfor %}";
  CHECK(refusal(loops + "x" + ends).find("steps") != std::string::npos);
  std::string doubled = "{% set x = 'aaaaaaaa' %}";
  for (int i = 0; i < 60; i++) doubled += "{% set x = x + x %}";
  CHECK(refusal(doubled + "{{ x }}").find("line 1: ") == 0);
  CHECK(refusal("{{ 'x'|rjust:99999999999 }}").find("100000 places") != std::string::npos);
}

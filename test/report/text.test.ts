/* oxlint-disable no-control-regex -- control characters are what these tests are about */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { duration, fixed, percent, plain } from "../../src/report/format.ts";
import { displayWidth, escapeHtml, oneLine, pad, truncate, visible, wrap } from "../../src/report/text.ts";

describe("escapeHtml", () => {
  it("escapes markup and both kinds of quotes", () => {
    expect(escapeHtml(`<script>alert("a" & 'b')</script>`)).toBe(
      "&lt;script&gt;alert(&quot;a&quot; &amp; &#39;b&#39;)&lt;/script&gt;",
    );
  });

  it("spells out control, bidirectional and unpaired characters", () => {
    expect(visible("a\u0000b\u001B[31m\u202Eevil\u200F\uFEFF\uD800x")).toBe(
      "a[U+0000]b[U+001B][31m[U+202E]evil[U+200F][U+FEFF][U+D800]x",
    );
  });

  it("keeps newlines, tabs, right-to-left letters, emoji and joiners", () => {
    const text = "one\n\ttwo \u05E9\u05DC\u05D5\u05DD \u{1F469}\u200D\u{1F680}";
    expect(visible(text)).toBe(text);
    expect(visible("a\r\nb")).toBe("a\nb");
  });

  it("leaves nothing that could open a tag or leave an attribute, whatever the text", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary" }),
        (text) => !/[<>"'\u0000\u001B\u202E]/.test(escapeHtml(text)),
      ),
    );
  });
});

describe("widths", () => {
  it("counts wide characters as two cells and combining marks as none", () => {
    expect(displayWidth("abc")).toBe(3);
    expect(displayWidth("\u65E5\u672C")).toBe(4);
    expect(displayWidth("e\u0301")).toBe(1);
    expect(displayWidth("\u{1F600}")).toBe(2);
  });

  it("never exceeds the width asked for", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.integer({ min: 2, max: 40 }), (text, width) => {
        const line = oneLine(text);
        expect(displayWidth(truncate(line, width))).toBeLessThanOrEqual(width);
        for (const piece of wrap(line, width)) expect(displayWidth(piece)).toBeLessThanOrEqual(width);
        expect(displayWidth(pad(truncate(line, width), width))).toBe(width);
      }),
    );
  });

  it("loses no character when it wraps", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.integer({ min: 2, max: 40 }), (text, width) => {
        const line = oneLine(text);
        expect(wrap(line, width).join("").replace(/\s/g, "")).toBe(line.replace(/\s/g, ""));
      }),
    );
  });

  it("marks what it cut", () => {
    expect(truncate("a long sentence", 8)).toBe("a long\u2026");
    expect(truncate("short", 8)).toBe("short");
  });
});

describe("numbers", () => {
  it("prints fixed decimals, real minus signs, and words for what is no number", () => {
    expect(fixed(1.4639)).toBe("1.464");
    expect(fixed(-5.04)).toBe("\u22125.040");
    expect(fixed(-0.0001)).toBe("0.000");
    expect(fixed(undefined)).toBe("\u2013");
    expect(fixed(Number.NaN)).toBe("\u2013");
    expect(fixed(-Infinity)).toBe("\u2212\u221E");
  });

  it("prints shares, settings and durations", () => {
    expect(percent(0.0512)).toBe("5.1\u00A0%");
    expect(plain(51200)).toBe("51,200");
    expect(plain(0.0002)).toBe("0.0002");
    expect(duration(9.96)).toBe("10.0 s");
    expect(duration(245)).toBe("4 min 05 s");
    expect(duration(7381)).toBe("2 h 03 min");
  });
});

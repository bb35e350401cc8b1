"use strict";

// Speeds, and what is said of two figures. Python does the same for its own tables (speeds.py, shown.py, verdict.py); a
// test holds the two together.

const SAME = 0.01; // a ratio within 1% of 1
const MOST_RUNS = 100; // more are not proposed

function speed(cell, base) {
  if (!cell || !base || cell.median === null || base.median === null) return null;
  return cell.better === "lower" ? base.median / cell.median : cell.median / base.median;
}

function asText(value) {
  if (value === null) return "";
  if (value < 9.995) return value.toFixed(2);
  return value.toFixed(1).replace(/\B(?=(\d{3})+\.)/g, ",");
}

function asPercent(halfWidth) {
  const value = 100 * halfWidth;
  if (value >= 999.5) return "±>999%";
  return `±${value.toFixed(value < 0.095 ? 2 : value < 9.95 ? 1 : 0)}%`;
}

// What is said of two figures with half-widths (verdict.compare): a word, the ratio's half-width, and how many more
// runs of both might tell, 0 where not even many would. null where an interval is missing.
function compared(cell, base) {
  const value = speed(cell, base);
  if (value === null || cell === base || cell.half_width === null || base.half_width === null) return null;
  const width = Math.hypot(cell.half_width, base.half_width);
  const low = value * (1 - width);
  const high = value * (1 + width);
  if (low > 1 + SAME) return { word: "faster", width };
  if (high < 1 - SAME) return { word: "slower", width };
  if (low >= 1 - SAME && high <= 1 + SAME) return { word: "the same", width };
  const wanted = value > 1 + SAME ? 1 - (1 + SAME) / value
    : value < 1 - SAME ? (1 - SAME) / value - 1
    : Math.min(1 - (1 - SAME) / value, (1 + SAME) / value - 1);
  const runs = Math.min(cell.runs, base.runs) || 1;
  const more = wanted > 0 ? Math.floor(runs * (width / wanted) ** 2) + 1 - runs : Infinity;
  return { word: "can't be told", width, more: more <= MOST_RUNS ? Math.max(more, 1) : 0 };
}

// "1.85", "same" or "1.02 ?", and on a second line the half-width.
function ratio(cell, base) {
  const said = compared(cell, base);
  const text = asText(speed(cell, base));
  if (!said) return text;
  const first = said.word === "the same" ? "same" : said.word === "can't be told" ? `${text} ?` : text;
  return `${first}\n${asPercent(said.width)}`;
}

// The same in words, for a tooltip.
function inWords(cell, base) {
  const said = compared(cell, base);
  if (!said) return "";
  if (said.more === undefined) return said.word;
  if (!said.more) return `${said.word}; not even ${MOST_RUNS} more runs would`;
  return `${said.word}; ${said.more} more run${said.more > 1 ? "s" : ""} of both might tell`;
}

function geometricMean(values) {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

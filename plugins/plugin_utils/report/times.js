/* Copyright (c) 2026 The dfir.aws authors. GPL-3.0-or-later
 * Times of the timeline, all in UTC: whole seconds and nanoseconds apart, so that nothing is rounded. */
(function () {
  const two = (value) => String(value).padStart(2, "0");

  /* The day of a count of days since 1970, for every year there is: Date ends in the year 275760. */
  function day(days) {
    const z = days + 719468, era = Math.floor(z / 146097), doe = z - era * 146097;
    const yoe = Math.floor((doe - Math.floor(doe / 1460) + Math.floor(doe / 36524) - Math.floor(doe / 146096)) / 365);
    const doy = doe - (365 * yoe + Math.floor(yoe / 4) - Math.floor(yoe / 100));
    const mp = Math.floor((5 * doy + 2) / 153), month = mp < 10 ? mp + 3 : mp - 9;
    const year = yoe + era * 400 + (month <= 2 ? 1 : 0);
    const told = year < 0 ? "-" + String(-year).padStart(4, "0") : (year > 9999 ? "+" : "") + String(year).padStart(4, "0");
    return `${told}-${two(month)}-${two(doy - Math.floor((153 * mp + 2) / 5) + 1)}`;
  }

  function told(seconds) {
    const whole = Math.floor(seconds), days = Math.floor(whole / 86400), rest = whole - days * 86400;
    return `${day(days)} ${two(Math.floor(rest / 3600))}:${two(Math.floor(rest / 60) % 60)}:${two(rest % 60)}`;
  }

  /* The whole time of a row, to the nanosecond, and what is to be said of it. */
  function moment(data, row) {
    if (row >= data.timed) return ["", "no time"];
    if (data.far[row] !== undefined) return ["", `no calendar has it: ${data.far[row]} ns since 1970`];
    const nanos = data.nanos[row], seconds = data.seconds[row];
    const unset = seconds === 0 && nanos === 0 ? " (zero: never set?)" : "";
    return [told(seconds), "." + String(nanos).padStart(9, "0") + unset];
  }

  /* Seconds since 1970 of what somebody typed: a day, or a day and a time. NaN for anything else. */
  function typed(text) {
    const parts = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?)?Z?$/.exec(text.trim());
    if (!parts) return NaN;
    const [year, month, date, hour, minute, second] = parts.slice(1).map((part) => Number(part || 0));
    const when = new Date(0);
    when.setUTCFullYear(year, month - 1, date);
    when.setUTCHours(hour, minute, second);
    const whole = when.getUTCMonth() === month - 1 && when.getUTCDate() === date && minute < 60 && second < 60;
    return whole ? when.getTime() / 1000 : NaN;
  }

  /* ---- the axis of time: round moments in UTC, a day first (uPlot's own says 3:41pm) ---- */

  const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
  const MONTHS = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400, 6000];

  function splits(low, high, most) {
    const wanted = (high - low) / Math.max(2, most), step = STEPS.find((each) => each >= wanted), places = [];
    if (step) {
      for (let at = Math.ceil(low / step) * step; at <= high; at += step) places.push(at);
      return places;
    }
    const months = MONTHS.find((each) => each * 2629800 >= wanted) || 12000;
    const start = new Date(low * 1000);
    let at = Math.floor((start.getUTCFullYear() * 12 + start.getUTCMonth()) / months) * months;
    for (; ; at += months) {
      const when = new Date(0);
      when.setUTCFullYear(Math.floor(at / 12), ((at % 12) + 12) % 12, 1);
      const place = when.getTime() / 1000;
      if (place > high) return places;
      if (place >= low) places.push(place);
    }
  }

  function labels(places, range) {
    const gap = places.length > 1 ? places[1] - places[0] : range / 2;
    let before = "";
    return places.map((place) => {
      const text = told(place), date = text.slice(0, -9), clock = text.slice(-8);
      if (gap >= 300 * 86400) return date.slice(0, -6);
      if (gap >= 27 * 86400) return date.slice(0, -3);
      if (gap >= 86400) return date;
      const label = (gap >= 60 ? clock.slice(0, 5) : clock) + (date === before ? "" : "\n" + date);
      before = date;
      return label;
    });
  }

  dfirReport.times = { told, moment, typed, splits, labels };
})();

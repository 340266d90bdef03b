// WAV files: a part of one, cut without touching its samples, and one made of recorded samples.

function chunks(view) {
  const found = {};
  let at = 12;
  while (at + 8 <= view.byteLength) {
    const name = String.fromCharCode(...new Uint8Array(view.buffer, at, 4));
    const size = view.getUint32(at + 4, true);
    found[name] = { at: at + 8, size: Math.min(size, view.byteLength - at - 8) };
    at += 8 + size + (size & 1);
  }
  return found;
}

function file(format, data) {
  const head = new DataView(new ArrayBuffer(12 + 8 + format.byteLength + 8));
  const text = (at, word) => [...word].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, head.byteLength - 8 + data.byteLength, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, format.byteLength, true);
  new Uint8Array(head.buffer).set(new Uint8Array(format), 20);
  text(20 + format.byteLength, "data");
  head.setUint32(24 + format.byteLength, data.byteLength, true);
  return new Blob([head, data], { type: "audio/wav" });
}

export function cut(bytes, from_s, to_s) {
  const view = new DataView(bytes);
  const { "fmt ": format, data } = chunks(view);
  const rate_hz = view.getUint32(format.at + 4, true);
  const frame = view.getUint16(format.at + 12, true);
  const at = (seconds) => Math.min(Math.round(seconds * rate_hz) * frame, data.size);
  const own = bytes.slice(format.at, format.at + format.size);
  return file(own, bytes.slice(data.at + at(from_s), data.at + at(to_s)));
}

// What a browser recorded, in whatever format, as samples that every decoder reads.
export async function fromRecording(blob) {
  const context = new AudioContext();
  const sound = await context.decodeAudioData(await blob.arrayBuffer());
  await context.close();
  const format = new DataView(new ArrayBuffer(16));
  format.setUint16(0, 3, true); // samples are 32-bit floating-point numbers
  format.setUint16(2, 1, true);
  format.setUint32(4, sound.sampleRate, true);
  format.setUint32(8, sound.sampleRate * 4, true);
  format.setUint16(12, 4, true);
  format.setUint16(14, 32, true);
  return file(format.buffer, sound.getChannelData(0).slice().buffer);
}

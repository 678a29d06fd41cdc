// Seeded uniform numbers: xoshiro128** (Blackman & Vigna 2018), its state from the seed by splitmix32.

export class Noise {
  constructor(seed) {
    let state = seed >>> 0;
    this.state = Uint32Array.from({ length: 4 }, () => {
      state = (state + 0x9e3779b9) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      return mixed ^ (mixed >>> 15);
    });
  }

  // Fill an array with numbers between 0 and 1, both excluded, also in single precision.
  fill(array) {
    let [a, b, c, d] = this.state;
    for (let i = 0; i < array.length; i++) {
      const turned = Math.imul(b, 5);
      const drawn = Math.imul((turned << 7) | (turned >>> 25), 9) >>> 0;
      const shifted = b << 9;
      c ^= a;
      d ^= b;
      b ^= c;
      a ^= d;
      c ^= shifted;
      d = (d << 11) | (d >>> 21);
      array[i] = ((drawn >>> 9) + 0.5) * 2 ** -23;
    }
    this.state.set([a, b, c, d]);
    return array;
  }
}

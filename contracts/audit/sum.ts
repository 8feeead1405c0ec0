/** Exact sums of products of millions of rows, without a BigInt for each. */
export class Sum {
  #whole = 0n
  /** Always a safe integer. */
  #rest = 0

  add(value: number): void {
    const next = this.#rest + value
    if (next <= Number.MAX_SAFE_INTEGER) {
      this.#rest = next
      return
    }
    this.#whole += BigInt(this.#rest)
    this.#rest = value
  }

  /** `a · b`, neither negative. */
  addProduct(a: number, b: number): void {
    const product = a * b
    if (product <= Number.MAX_SAFE_INTEGER) this.add(product)
    else this.#whole += BigInt(a) * BigInt(b)
  }

  addBig(value: bigint): void {
    this.#whole += value
  }

  get value(): bigint {
    return this.#whole + BigInt(this.#rest)
  }
}

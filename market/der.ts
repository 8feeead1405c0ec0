/** Signatures in DER, as strictly as BIP 66 has it. */

/** r ‖ s of a signature in the one encoding BIP 66 allows, else undefined. Written once for both libraries, whose parsers differ. */
export function fromDer(der: Uint8Array): Uint8Array | undefined {
  if (der.length < 8 || der.length > 72 || der[0] !== 0x30 || der[1] !== der.length - 2) return undefined
  const rEnd = 4 + der[3]!
  if (der[2] !== 0x02 || der[rEnd] !== 0x02 || der[rEnd + 1] !== der.length - rEnd - 2) return undefined
  const signature = new Uint8Array(64)
  const complete =
    putInteger(signature, 32, der.subarray(4, rEnd)) && putInteger(signature, 64, der.subarray(rEnd + 2))
  return complete ? signature : undefined
}

/** Writes a DER integer so that it ends before `end`; false unless it is positive, minimal and of 256 bits. */
function putInteger(target: Uint8Array, end: number, integer: Uint8Array): boolean {
  const padded = integer[0] === 0 && integer.length > 1 && integer[1]! >= 0x80
  const magnitude = padded ? integer.subarray(1) : integer
  if (magnitude.length === 0 || magnitude.length > 32 || magnitude[0] === 0) return false
  if (!padded && magnitude[0]! >= 0x80) return false
  target.set(magnitude, end - magnitude.length)
  return true
}

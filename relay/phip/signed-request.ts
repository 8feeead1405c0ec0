/** What the sender of a message signed for another host, read back: a request to send it, and nothing else. */
import type { SignedMessage } from '../../contracts/overlay/propagation.ts'
import { requestIdBytes } from '../web/preimage.ts'
import { isMultipart, readMultipart } from '../web/multipart.ts'

const absent = 2n ** 64n - 1n

/**
 * The body of the request; undefined where it is no request to send a message.
 * @param protocol where it is known: of BRC-104 a whole request is signed (web/preimage.ts), of BRC-31 its body
 */
export function bodyOfSigned(
  signed: Uint8Array,
  protocol: SignedMessage['protocol'] | undefined,
): Buffer | undefined {
  const bytes = Buffer.from(signed.buffer, signed.byteOffset, signed.length)
  if (protocol === 'brc31') return bytes
  // One request in 256 begins like a body.
  const isBody = protocol === undefined && bytes[0] === '{'.charCodeAt(0)
  return bodyOfRequest(bytes) ?? (isBody ? bytes : undefined)
}

function bodyOfRequest(bytes: Buffer): Buffer | undefined {
  try {
    return new Preimage(bytes).body()
  } catch {
    return undefined // it ends too early
  }
}

class Preimage {
  readonly #bytes: Buffer
  #at = requestIdBytes

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  body(): Buffer | undefined {
    const [method, path, search] = [this.#text(), this.#text(), this.#text()]
    if (method !== 'POST' || !path?.endsWith('/sendMessage') || search !== undefined) return undefined
    let type: string | undefined
    for (let left = this.#number(); left > 0n; left--) {
      const [name, value] = [this.#text(), this.#text()]
      if (name === 'content-type') type = value
    }
    const body = this.#part()
    if (body === undefined || this.#at !== this.#bytes.length) return undefined
    return isMultipart(type) ? messageOf(body) : body
  }

  #text(): string | undefined {
    return this.#part()?.toString()
  }

  #part(): Buffer | undefined {
    const length = this.#number()
    if (length === absent) return undefined
    const start = this.#at
    this.#at += Number(length)
    if (this.#at > this.#bytes.length) throw new RangeError('it ends too early')
    return this.#bytes.subarray(start, this.#at)
  }

  /** A varint of Bitcoin. */
  #number(): bigint {
    const first = this.#bytes.readUInt8(this.#at++)
    if (first < 0xfd) return BigInt(first)
    const width = 2 ** (first - 0xfc)
    this.#at += width
    if (width === 2) return BigInt(this.#bytes.readUInt16LE(this.#at - 2))
    if (width === 4) return BigInt(this.#bytes.readUInt32LE(this.#at - 4))
    return this.#bytes.readBigUInt64LE(this.#at - 8)
  }
}

/** The part of a paid request that is no payment (BRC-118). Its boundary is not in what is signed, but the body begins with it. */
function messageOf(body: Buffer): Buffer | undefined {
  const boundary = body.toString('latin1', 2, body.indexOf('\r\n'))
  return readMultipart(`multipart/form-data; boundary="${boundary}"`, body, ['x-bsv-payment', 'body']).get(
    'body',
  )
}

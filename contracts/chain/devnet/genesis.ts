/** The first block of every devnet, and how others are made: the same rules of headers as everywhere, hardly any work. */
import { concat, toUtf8 } from '../../../market/bytes.ts'
import { hasWork, type Header, serializeHeader } from '../../transaction/block.ts'
import { merkleRoot } from '../../transaction/merkle-path.ts'
import { op } from '../../transaction/script.ts'
import {
  finalSequence,
  nullTxid,
  type Transaction,
  type Txid,
  txidOf,
  uint32,
} from '../../transaction/transaction.ts'

/** The hash of the first block: nothing else tells one network's money from another's. */
export const devnetGenesis: Txid = '5327619d685d9b6809bb1b277518abbd57c7a978d2f85aab5a2b9fd315ea8c33'

/** Every second header has this work. */
export const devnetBits = 0x207fffff
export const blockVersion = 0x20000000
/** What a block may make of nothing, for all heights: there is no halving. */
export const subsidySatoshis = 50e8

export function genesisBlock(): { header: Header; coinbase: Transaction } {
  const coinbase: Transaction = {
    version: 1,
    inputs: [
      {
        txid: nullTxid,
        vout: 0xffffffff,
        script: toUtf8('devnet: a simulated chain whose coins are worth nothing'),
        sequence: finalSequence,
      },
    ],
    outputs: [{ satoshis: subsidySatoshis, script: Uint8Array.of(op.false, op.return) }],
    lockTime: 0,
  }
  const header = work({
    version: blockVersion,
    previous: nullTxid,
    root: merkleRoot([txidOf(coinbase)]),
    time: 1_300_000_000,
    bits: devnetBits,
    nonce: 0,
  })
  return { header, coinbase }
}

/** The same header with the first nonce that gives it its work. */
export function work(header: Header): Header {
  for (let nonce = header.nonce; ; nonce++) {
    const tried = { ...header, nonce }
    if (hasWork(serializeHeader(tried), tried.bits)) return tried
  }
}

/** The transaction that pays the miner. Height and number in its input make its id one of a kind. */
export function coinbaseOf({
  height,
  number,
  satoshis,
  script,
}: {
  height: number
  number: number
  satoshis: number
  script: Uint8Array
}): Transaction {
  const unlock = concat(pushNumber(height), Uint8Array.of(4), uint32(number), toUtf8('/devnet/'))
  const input = { txid: nullTxid, vout: 0xffffffff, script: unlock, sequence: finalSequence }
  return { version: 1, inputs: [input], outputs: [{ satoshis, script }], lockTime: 0 }
}

/** As BIP 34 writes a height. */
function pushNumber(height: number): Uint8Array {
  if (height <= 16) return Uint8Array.of(height === 0 ? 0 : 0x50 + height)
  const bytes: number[] = []
  for (let left = height; left > 0; left = Math.floor(left / 256)) bytes.push(left % 256)
  if (bytes.at(-1)! >= 0x80) bytes.push(0) // the loop ran at least once
  return Uint8Array.of(bytes.length, ...bytes)
}

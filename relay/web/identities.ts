/** What users of this relay publish of themselves, at `/.well-known/relay-identity/{key}` (docs/protocol.md §8.2). */
import type { FastifyInstance } from 'fastify'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { canonicalize } from '../../market/canonical.ts'
import { MarketError } from '../../market/errors.ts'
import {
  type IdentityFile,
  openIdentity,
  publishedPrefix,
  publishedSeq,
  succession,
} from '../../market/identity-file.ts'
import { ANYONE_KEY, anyonePrivateKey, RECORD_PROTOCOL } from '../../market/identity.ts'
import { decodePayload } from '../../market/payload.ts'
import { Key } from '../../market/units.ts'
import { callerAddress, RateLimiter } from '../rate.ts'
import { contentOfBody } from '../store/body.ts'
import * as keys from '../store/keys.ts'
import { isPaid } from '../store/records.ts'
import { decodeHead } from '../store/rows.ts'
import type { Store } from '../store/store.ts'

const identityLimits = {
  /** Of one network address. */
  asksPerMinute: 600,
  /** Records of a user that are looked at, those of the highest `seq` first. */
  records: 16,
  /** Content of a record that carries an identity file of the largest size. */
  contentBytes: 32 << 10,
} as const

export interface IdentitiesDeps {
  readonly store: Pick<Store, 'get' | 'scan'>
  readonly now: () => number
  readonly trustProxy: boolean
}

/** The file of the highest `seq` is served; how many others contradict it stands in `relay-identity-forks`. No pull is counted. */
export function addIdentities(app: FastifyInstance, { store, now, trustProxy }: IdentitiesDeps): void {
  const rate = new RateLimiter(identityLimits.asksPerMinute)
  app.get('/.well-known/relay-identity/:key', async (request, reply) => {
    const [address, time] = [callerAddress(request.raw, trustProxy), now()]
    rate.check(address, time)
    rate.count(address, time)
    const key = Key.safeParse((request.params as { key: string }).key) // a name of the route
    const [newest, ...older] = key.success ? await publishedBy(store, key.data, time) : []
    if (newest === undefined)
      throw new MarketError('ERR_NOT_FOUND', 'nobody of this key published himself here')
    const forks = older.filter((other) => succession(newest, other) === 'fork').length
    return reply
      .header('access-control-allow-origin', '*')
      .header('access-control-expose-headers', 'relay-identity-forks')
      .header('relay-identity-forks', forks)
      .type('application/json; charset=utf-8')
      .send(newest.text)
  })
}

/** The highest `seq` first. */
async function publishedBy(store: IdentitiesDeps['store'], owner: Key, now: number): Promise<IdentityFile[]> {
  const bound = (recordId: string) => keys.headKey({ owner, recordId })
  const scan = store.scan({ gt: bound(publishedPrefix), lt: bound(`${publishedPrefix}\x7f`), reverse: true })
  try {
    const rows = await scan.next(identityLimits.records)
    return rows.flatMap(([key, value]) => {
      const head = decodeHead(value)
      if (head.state === 'deleted' || head.receiver !== ANYONE_KEY || !isPaid(head, now)) return []
      if (head.expires <= now || head.bytes > identityLimits.contentBytes) return []
      const body = store.get(keys.bodyKey(head.place))
      return body === undefined ? [] : fileIn(contentOfBody(body), { owner, recordId: keys.nameOfKey(key) })
    })
  } finally {
    await scan.close()
  }
}

const anyone = new KeyWallet(anyonePrivateKey)

/** None where the record is something else, or is not named after what is in it. */
function fileIn(content: Uint8Array, { owner, recordId }: { owner: Key; recordId: string }): IdentityFile[] {
  try {
    const name = { protocolID: RECORD_PROTOCOL, keyID: recordId, counterparty: owner }
    const { payload } = decodePayload(anyone.decryptBytes(content, name))
    if (payload.type !== 'identity') return []
    const file = openIdentity(canonicalize(payload.identity))
    const { from, request } = file.msg
    return from === owner && request.seq === publishedSeq(recordId) ? [file] : []
  } catch (error) {
    if (error instanceof MarketError) return []
    throw error
  }
}

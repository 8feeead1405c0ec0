import type { Key } from '../../../market/units.ts'
import type { Client } from '../../client.ts'
import type { Sent } from '../../mail/overview.ts'
import { command, exitCodes } from '../command.ts'
import type { Session } from '../session.ts'
import { timeText } from '../show.ts'

export const outboxCommand = command({
  name: 'outbox',
  usage: '[--flush]',
  summary: 'what you sent and where it stands',
  help: ['--flush  bring up what is queued, and try again what was refused'],
  options: { flush: { type: 'boolean' } },
  positionals: [0, 0],
  async run(session, { flush }) {
    const client = await session.client()
    const names = await session.names()
    const failures = flush ? await flushNow(session, client) : []
    const urls = new Map((await client.relays()).map(({ key, url }) => [key, url]))
    const rows = (await client.outbox()).map((sent) => ({
      ...row(sent, names.get(sent.to)),
      ...(!session.isJson && { lacks: lackText(sent, urls) }),
    }))
    const lacks = rows.some((one) => 'lacks' in one && one.lacks !== '') ? ['lacks'] : []
    const columns = ['sent', 'id', 'friend', 'type', 'state', 'relays', ...lacks, 'summary']
    session.list(rows, columns, 'nothing sent')
    const isStuck = failures.length > 0 && rows.some(({ state }) => state === 'queued' || state === 'sending')
    if (isStuck) throw session.errorOf(failures[0]!)
    return exitCodes.ok
  },
})

async function flushNow(session: Session, client: Client) {
  const { signal, onProgress } = session
  const { failures } = await client.flush({ signal, onProgress, retryRefused: true })
  session.hold(failures[0])
  session.warn(failures)
  return failures
}

/** Which relays do not have it, and why as far as it is known. */
function lackText({ state, queued, refused }: Sent, urls: ReadonlyMap<Key, string>): string {
  if (state === 'deleted') return ''
  const nameOf = (key: Key) => urls.get(key) ?? `${key.slice(0, 8)}…, no longer yours`
  return [
    ...queued.map((key) => `waits for ${nameOf(key)}`),
    ...refused.map(({ relay, code, message }) =>
      code === 'ERR_PAYMENT_REQUIRED' ? `${nameOf(relay)}: no credit` : message,
    ),
  ].join('; ')
}

const row = (sent: Sent, name: string | undefined) => ({
  ...sent,
  friend: name ?? null,
  sent: timeText(sent.sentMs),
  relays: `${sent.accepted.length}/${sent.accepted.length + sent.queued.length + sent.refused.length}`,
})

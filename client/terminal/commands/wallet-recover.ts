/** `relay wallet recover`: from where, from when, and what came of it. */
import type { Birthday } from '../../../contracts/wallet/backup/recover.ts'
import type { Recovered } from '../../money/coins.ts'
import { exitCodes, usageError } from '../command.ts'
import { oneLine } from '../show.ts'
import type { Job } from './wallet.ts'
import { amount } from './wallet-text.ts'

export async function recoverCoins({ session, coins, values }: Job): Promise<number> {
  const { backup, birthday, 'key-only': isKeyOnly } = values
  const report = await coins.recover({
    ...(backup !== undefined && { backup }),
    ...(birthday !== undefined && { birthday: birthdayOf(birthday) }),
    ...(isKeyOnly && { isKeyOnly }),
    signal: session.signal,
    onProgress: ({ height, tip, coins: found, satoshis }) =>
      session.progress(`block ${height} of ${tip}: ${found} coins, ${satoshis} satoshi`),
  })
  session.endBar()
  session.print(report, foundText(report))
  if (!session.isJson && report.notFound.length > 0)
    session.say(`without a backup these do not come back: ${report.notFound.join('; ')}`)
  return exitCodes.ok
}

function foundText({ found, satoshis, network, source, from, to }: Recovered): string {
  const by = { key: 'with the key alone', earlier: 'going on where it stopped' }[source]
  const text = by ?? `from the backup ${source.includes('#') ? 'on' : 'in'} ${oneLine(source)}`
  const read = from > to ? 'no further blocks' : `blocks ${from} to ${to} were read`
  return `${found} coins, ${amount(satoshis, network)}, ${text}; ${read}`
}

/** A height, or the first moment of a day. */
function birthdayOf(text: string): Birthday {
  if (/^(?:0|[1-9][0-9]{0,8})$/.test(text)) return { height: Number(text) }
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN
  if (Number.isNaN(ms)) throw usageError('--birthday takes the height of a block, or a date like 2026-11-01')
  if (ms > Date.now()) throw usageError('--birthday is in the future')
  return { time: ms / 1000 }
}

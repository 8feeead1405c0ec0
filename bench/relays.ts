/** Many relays in one process, until SIGTERM: real sockets and stores, without what a process each would cost to start. */
import { join } from 'node:path'
import { pino } from 'pino'
import { readConfig } from '../relay/config.ts'
import { type RunningRelay, startRelay } from '../relay/relay.ts'

const [folder = '', count = ''] = process.argv.slice(2)
const relays: RunningRelay[] = []
for (let index = 0; index < Number(count); index++) {
  const listen = ['--listen', '127.0.0.1:0', '--metrics', '127.0.0.1:0']
  const config = readConfig(['--data', join(folder, `relay-${index}`), '--open', ...listen], {})
  relays.push(await startRelay(config, { log: pino({ level: 'silent' }) }))
}
process.once('SIGTERM', () => void Promise.all(relays.map((relay) => relay.close())))
const told = relays.map(({ url, key, metricsUrl }) => ({ url, key, metricsUrl }))
process.stdout.write(`${JSON.stringify({ relays: told })}\n`)

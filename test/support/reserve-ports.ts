// Another process that asks for ports: reserves each one it is sent, and answers whether it got it.
import { reservePort } from '../../src/lib/sandbox/ports.js';

process.on('message', (port: number) => void reservePort(port).then((isOurs) => process.send?.(isOurs)));
process.once('disconnect', () => process.exit());
process.send?.('ready');

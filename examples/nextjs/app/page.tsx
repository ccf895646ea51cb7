import { connection } from 'next/server';
import { App } from '@/components/app';
import { readSettings } from '@/lib/settings';

export default async function Page() {
  await connection(); // the settings are those of the running server, not of the build
  return <App settings={readSettings()} />;
}

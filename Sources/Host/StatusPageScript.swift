// What the status page does: ask, compute rates from two answers, draw. ECMAScript 5.

extension StatusPage {
    static let script = """
        (function () {
          'use strict';
          var last = null, points = [], lossesSeen = {}, answeredAt = 0, isDown = false;

          function element(id) { return document.getElementById(id); }
          function say(id, words) {
            var e = element(id);
            if (e.textContent !== words) { e.textContent = words; }
          }
          function add(parent, tag, words, kind) {
            var e = document.createElement(tag);
            if (words !== undefined) { e.textContent = words; }
            if (kind) { e.className = kind; }
            parent.appendChild(e);
            return e;
          }
          function empty(id) {
            var e = element(id);
            while (e.firstChild) { e.removeChild(e.firstChild); }
            return e;
          }
          function count(x) {
            return String(Math.round(x)).replace(/\\B(?=(\\d{3})+$)/g, '\\u202f');
          }
          function perSecond(x) {
            return x === null ? '…' : x > 0 && x < 10 ? x.toFixed(1) : count(x);
          }
          function size(x) {
            var units = ['B', 'KB', 'MB', 'GB', 'TB'], i = 0;
            while (x >= 1000 && i < 4) { x /= 1000; i += 1; }
            return (i && x < 100 ? x.toFixed(1) : Math.round(x)) + '\\u00a0' + units[i];
          }
          function span(s) {
            if (s < 120) { return Math.round(s) + ' s'; }
            if (s < 7200) { return Math.round(s / 60) + ' min'; }
            return s < 172800 ? Math.round(s / 3600) + ' h' : Math.round(s / 86400) + ' days';
          }
          function sum(object) {
            var all = 0, key;
            for (key in object || {}) { all += object[key]; }
            return all;
          }
          function many(n, one, more) { return count(n) + ' ' + (n === 1 ? one : more); }

          function rates(now) {
            var l = now.ledger, before = last && last.ledger, dt;
            if (!before || last.startedAt !== now.startedAt) { return null; }
            dt = (Date.parse(now.now) - Date.parse(last.now)) / 1000;
            if (!(dt > 0)) { return null; }
            return {
              seconds: dt,
              datagrams: (l.datagrams - before.datagrams) / dt,
              frames: (l.framesReceived - before.framesReceived) / dt,
              readings: (l.readingsDecoded - before.readingsDecoded) / dt,
              kept: (l.readingsAcknowledged - before.readingsAcknowledged) / dt,
              sent: (now.uplink.bytesSent - last.uplink.bytesSent) / dt
            };
          }

          // One stage: what flows, what to know about it, and what was lost there since the
          // start, as [how many, one, more]. It is marked while a loss of the last five minutes
          // is among them.
          function stage(list, name, figure, unit, lines, losses, isLast) {
            var li = add(list, 'li'), h = add(li, 'h3', name), i, hurt = false;
            if (!isLast) { add(h, 'span', '\\u2192', 'arrow').setAttribute('aria-hidden', 'true'); }
            add(li, 'p', figure, 'figure');
            add(li, 'p', unit, 'quiet');
            for (i = 0; i < lines.length; i += 1) { if (lines[i]) { add(li, 'p', lines[i]); } }
            for (i = 0; i < losses.length; i += 1) {
              if (losses[i][0] > 0) {
                add(li, 'p', many(losses[i][0], losses[i][1], losses[i][2]), 'loss');
                hurt = hurt || losses[i][0] > lossBefore(losses[i][2], losses[i][0]);
              }
            }
            if (hurt) { li.className = 'hurt'; }
            return li;
          }

          function lossBefore(name, now) {
            var all = lossesSeen[name] || (lossesSeen[name] = []);
            all.push(now);
            if (all.length > 150) { all.shift(); }
            return all[0];
          }

          function spoolStage(list, now) {
            var s = now.spool, pending = sum(s.readingsPending), bytes = sum(s.bytesPending);
            var lines = [many(sum(s.batchesPending), 'batch', 'batches') + ', ' + size(bytes)];
            var full = s.allowedBytes > 0 ? Math.min(1, s.usedBytes / s.allowedBytes) : null;
            if (full !== null) {
              lines.push(Math.round(100 * full) + ' % of ' + size(s.allowedBytes) + ' used');
            }
            if (s.isInMemory) { lines.push('in memory: nothing is answered'); }
            if (s.forecast.text) { lines.push(s.forecast.text); }
            if (s.trouble) { lines.push(s.trouble); }
            var li = stage(list, 'Spool', count(pending), 'readings wait on disk', lines, [
              [now.ledger.readingsEvicted, 'reading evicted', 'readings evicted'],
              [s.batchesDamaged, 'batch damaged', 'batches damaged']]);
            if (full !== null) {
              var tank = document.createElement('div'), level = document.createElement('div');
              tank.id = 'tank';
              level.id = 'level';
              level.style.width = Math.round(100 * full) + '%';
              if (full > 0.8) { level.className = 'high'; }
              tank.appendChild(level);
              li.insertBefore(tank, li.children[3]);
            }
            if (s.trouble || s.isInMemory) { li.className = 'hurt'; }
          }

          function uplinkStage(list, now, r) {
            var u = now.uplink, isUp = u.state === 'streaming', lines = [u.store || 'no store'];
            lines.push(u.state + ' for ' + span(u.stateSeconds));
            if (u.nextAttemptSeconds !== null) {
              lines.push('tries again in ' + span(Math.max(0, u.nextAttemptSeconds)));
            }
            if (u.drainedInSeconds > 0) { lines.push('drained in ' + span(u.drainedInSeconds)); }
            if (!isUp && u.lastError) { lines.push(u.lastError); }
            var li = stage(list, 'Uplink', r ? size(r.sent) : '…', 'a second to the store', lines,
              []);
            if (!isUp && u.store) { li.className = 'hurt'; }
          }

          function way(now, r) {
            var list = empty('way'), l = now.ledger, i = now.intake;
            var connections = 0, k;
            for (k = 0; k < now.sources.length; k += 1) {
              connections += now.sources[k].connections;
            }
            stage(list, 'Sources', perSecond(r && r.datagrams), 'datagrams a second',
              [many(now.sources.length, 'source', 'sources') + ', ' +
                many(connections, 'connection', 'connections')],
              [[l.kernelDrops, 'dropped by the kernel', 'dropped by the kernel']]);
            stage(list, 'Intake', perSecond(r && r.frames), 'frames a second',
              [many(i.devices, 'device', 'devices') + ', ' + many(i.streams, 'stream', 'streams'),
                count(l.framesDuplicate) + ' repeated',
                i.isWithoutRoom ? 'sources are held back' : ''],
              [[l.framesRejected, 'frame refused', 'frames refused'],
                [l.bodiesGivenUp, 'body given up', 'bodies given up']]);
            stage(list, 'Buckets', count(l.readingsInBuckets + l.readingsAwaitingSpool),
              'readings not yet in a batch', [perSecond(r && r.readings) + ' readings a second'],
              [[l.readingsDropped, 'reading dropped', 'readings dropped']]);
            spoolStage(list, now);
            uplinkStage(list, now, r);
            stage(list, 'Store', count(l.readingsAcknowledged), 'readings kept there',
              [perSecond(r && r.kept) + ' a second'],
              [[l.readingsRejected, 'rejected by the store', 'rejected by the store']], true);
          }

          function draw(id, key, unit) {
            var most = 0, text = '', i, y, latest = points[points.length - 1];
            for (i = 0; i < points.length; i += 1) { most = Math.max(most, points[i][key]); }
            for (i = 0; i < points.length; i += 1) {
              y = 38 - 36 * points[i][key] / (most || 1);
              text += (150 - points.length + i) + ',' + y.toFixed(1) + ' ';
            }
            element(id).querySelector('polyline').setAttribute('points', text);
            say(id + '-words', latest ? 'now ' + perSecond(latest[key]) + ', at most ' +
              perSecond(most) + ' ' + unit : '');
          }

          function cell(row, words, isNumber, isLoss) {
            add(row, 'td', words, (isNumber ? 'number' : '') + (isLoss ? ' loss' : ''));
          }

          function sources(now, r) {
            var body = empty('sources'), i, s, row, before, rate;
            for (i = 0; i < now.sources.length; i += 1) {
              s = now.sources[i];
              row = add(body, 'tr');
              before = r && last.sources[i];
              rate = before ? (s.datagrams - before.datagrams) / r.seconds : null;
              add(row, 'th', s.name).scope = 'row';
              cell(row, s.listen);
              cell(row, s.formats.length ? s.formats.join(', ') : s.exchange || 'all');
              cell(row, s.datagrams ? count(s.datagrams) : size(s.bytesReceived), true);
              cell(row, s.datagrams || s.listen.indexOf('udp') === 0 ? perSecond(rate) : '–', true);
              cell(row, s.listen.indexOf('udp') === 0 ? '–' : count(s.connections), true);
              cell(row, count(s.kernelDrops), true, s.kernelDrops > 0);
            }
          }

          function refused(now) {
            var body = empty('refused'), key, row, any = false, all = now.ledger.rejected;
            for (key in all) {
              if (all[key] > 0) {
                row = add(body, 'tr');
                add(row, 'th', key).scope = 'row';
                cell(row, count(all[key]), true, true);
                any = true;
              }
            }
            if (!any) { cell(add(body, 'tr'), 'none'); }
          }

          function ledger(now) {
            var body = empty('ledger'), l = now.ledger, i, row;
            var lines = [
              ['frames received', l.framesReceived], ['= decoded', l.framesDecoded],
              ['+ repeated', l.framesDuplicate], ['+ control', l.framesControl],
              ['+ refused', l.framesRejected], ['readings decoded', l.readingsDecoded],
              ['= kept by the store', l.readingsAcknowledged],
              ['+ on their way (buckets, spool)', l.readingsHeld],
              ['+ dropped by rule', l.readingsDropped], ['+ evicted', l.readingsEvicted],
              ['+ rejected by the store', l.readingsRejected], ['unaccounted', l.unaccounted]];
            for (i = 0; i < lines.length; i += 1) {
              row = add(body, 'tr');
              add(row, 'th', lines[i][0]).scope = 'row';
              cell(row, count(lines[i][1]), true, i === lines.length - 1 && lines[i][1] > 0);
            }
          }

          function health(kind, verdict, reasons) {
            element('health').className = kind;
            say('verdict', verdict);
            if (element('reasons').getAttribute('data-all') === reasons.join('\\n')) { return; }
            var list = empty('reasons'), i;
            list.setAttribute('data-all', reasons.join('\\n'));
            for (i = 0; i < reasons.length; i += 1) { add(list, 'li', reasons[i]); }
          }

          function show(now) {
            var r = rates(now), reasons = now.reasons.slice();
            if (now.uplink.store && now.uplink.state !== 'streaming') {
              reasons.push('store: ' + (now.uplink.lastError || now.uplink.state));
            }
            say('gateway', now.gateway);
            document.title = (reasons.length ? '\\u26a0 ' : '') + now.gateway + ' – Sluice';
            say('when', new Date(now.now).toString() + ', up for ' +
              span((Date.parse(now.now) - Date.parse(now.startedAt)) / 1000) +
              ', version ' + now.software);
            health(reasons.length ? 'bad' : 'good',
              reasons.length ? 'Needs attention' : 'Healthy: everything is accounted for', reasons);
            if (r) {
              points.push(r);
              if (points.length > 150) { points.shift(); }
            }
            way(now, r);
            draw('in', 'frames', 'frames a second');
            draw('out', 'kept', 'readings a second');
            sources(now, r);
            refused(now);
            ledger(now);
            last = now;
          }

          function failed() {
            isDown = true;
            health('bad', 'No answer from the gateway', [
              answeredAt ? 'last answer ' + span((Date.now() - answeredAt) / 1000) + ' ago' :
                'there was none yet',
              'look at: systemctl status sluiced, journalctl -u sluiced']);
          }

          function ask() {
            var request = new XMLHttpRequest();
            request.open('GET', 'status');
            request.timeout = 5000;
            request.onload = function () {
              var now = null;
              try { now = JSON.parse(request.responseText); } catch (e) { now = null; }
              if (request.status !== 200 || !now) { failed(); } else {
                if (isDown || (last && last.startedAt !== now.startedAt)) {
                  last = null;
                  lossesSeen = {};
                  isDown = false;
                }
                answeredAt = Date.now();
                show(now);
              }
              setTimeout(ask, document.hidden ? 10000 : 2000);
            };
            request.onerror = request.ontimeout = function () {
              failed();
              setTimeout(ask, 2000);
            };
            request.send();
          }
          ask();
        }());

        """
}

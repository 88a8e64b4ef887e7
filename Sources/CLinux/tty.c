// Serial lines: raw, non-blocking, exclusive.
#define _GNU_SOURCE
#include "include/CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/serial.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static speed_t speed_of(uint32_t baud) {
    static const struct {
        uint32_t baud;
        speed_t speed;
    } speeds[] = {
        {300, B300},       {600, B600},       {1200, B1200},     {2400, B2400},
        {4800, B4800},     {9600, B9600},     {19200, B19200},   {38400, B38400},
        {57600, B57600},   {115200, B115200}, {230400, B230400}, {460800, B460800},
        {921600, B921600},
    };
    for (size_t i = 0; i < sizeof speeds / sizeof speeds[0]; i++)
        if (speeds[i].baud == baud) return speeds[i].speed;
    return B0;
}

int32_t sluice_tty_open(const char *path, const sluice_tty *tty) {
    speed_t speed = speed_of(tty->baud);
    if (speed == B0 || tty->data_bits < 7 || tty->data_bits > 8) return -EINVAL;
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -errno;
    struct termios t;
    if (tcgetattr(fd, &t) != 0) goto failed;
    cfmakeraw(&t);
    t.c_cflag &= ~(tcflag_t)(CSIZE | PARENB | PARODD | CSTOPB | CRTSCTS);
    t.c_cflag |= CLOCAL | CREAD | (tty->data_bits == 7 ? CS7 : CS8);
    if (tty->parity != SLUICE_PARITY_NONE) t.c_cflag |= PARENB;
    if (tty->parity == SLUICE_PARITY_ODD) t.c_cflag |= PARODD;
    if (tty->stop_bits == 2) t.c_cflag |= CSTOPB;
    // One byte at least: with 0 an empty line would read as its end.
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    cfsetispeed(&t, speed);
    cfsetospeed(&t, speed);
    if (tcsetattr(fd, TCSANOW, &t) != 0) goto failed;
    // tcsetattr succeeds when it could do any of it.
    struct termios set;
    if (tcgetattr(fd, &set) != 0) goto failed;
    if (cfgetospeed(&set) != speed || (set.c_cflag & CSIZE) != (t.c_cflag & CSIZE)) {
        close(fd);
        return -EINVAL;
    }
    if (ioctl(fd, TIOCEXCL) != 0) goto failed;
    if (tty->rs485) {
        struct serial_rs485 mode;
        memset(&mode, 0, sizeof mode);
        mode.flags = SER_RS485_ENABLED | SER_RS485_RTS_ON_SEND;
        if (ioctl(fd, TIOCSRS485, &mode) != 0) goto failed;
    }
    tcflush(fd, TCIOFLUSH);
    return fd;
failed : {
    int32_t failure = -errno;
    close(fd);
    return failure;
}
}
